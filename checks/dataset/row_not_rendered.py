"""DAT012 row-not-rendered."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.facts.encoded_rows import EncodedSplit
from modelcheck.facts.files import shorten
from modelcheck.finding import Finding, Severity


@check("DAT012", severity=Severity.ERROR)
def row_not_rendered(encoded_rows: tuple[EncodedSplit, ...]) -> Iterator[Finding]:
    r"""The chat template raises on a row of the data set.

    Symptoms: loading or serving fails; training and serving see different text

    Why: the trainer stops when it comes to that row, or a converter drops it. Templates raise on what their model never
    saw: two user turns in a row, a system message, a tool call without an id.

    Common causes:
        - The template wants user and assistant to take turns. Solution: merge neighbouring turns of one role.
        - It knows no system message (Gemma). Solution: put the text before the first user message.

    Bad:
        ```jinja chat_template.jinja
        {%- for message in messages %}
        {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('roles must alternate') }}
        {%- endif %}
        {{- '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}
        {%- endfor %}
        {%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}
        ```
        ```json train.jsonl
        {"messages": [{"role": "user", "content": "A"}, {"role": "user", "content": "B"}, {"role": "assistant", "content": "C"}]}
        ```
    Good:
        ```json train.jsonl
        {"messages": [{"role": "user", "content": "A\nB"}, {"role": "assistant", "content": "C"}]}
        ```

    Traps: rows are rendered as they are, with their tools. A template that raises on everything is template-broken's
    matter.

    Sources: the templates of Llama 2, Mistral and Gemma, which raise on roles that do not alternate; lm-eval#2069.
    """  # noqa: E501  a row is one line
    for encoded in encoded_rows:
        if encoded.raised and encoded.rows:
            split, (first, said) = encoded.split, encoded.raised[0]
            rows = [row for row, _ in encoded.raised]
            message = (
                f"{encoded.of(len(rows))} cannot be rendered ({split.named(rows)}; on row {first.row}: "
                f"{shorten(said, 120)}), expected all: the trainer stops there"
            )
            yield Finding(message, *split.place(rows))
