"""TPL002 template-date."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from modelcheck.check import check
from modelcheck.facts.conversations import Rendering, View
from modelcheck.facts.files import shorten
from modelcheck.finding import Finding, Severity

SHOWN = {
    "prompt": "a prompt",
    "chat": "a chat",
    "system_prompt": "a prompt that has a system message",
    "tools": "a prompt that has tools",
}


@check("TPL002", severity=Severity.WARNING)
def template_date(conversations: Mapping[str, Rendering]) -> Iterator[Finding]:
    """The chat template writes the date of today into the prompt.

    Symptoms: training and serving see different text

    Why: training texts differ from day to day, the model learns the date of the training run, and every later prompt
    carries a date that it never saw. Caches of the prompt's beginning miss every midnight. Runtimes whose template
    engine has no `strftime_now` (TGI, older llama.cpp) fail or write another date.

    Common causes:
        - The template calls `strftime_now` where no date is passed. Solution: pass one fixed date in training and
          serving (`date_string=...` where the template reads that), or take the line out before training.

    Bad:
        ```jinja chat_template.jinja
        <|im_start|>system
        Today is {{ strftime_now("%d %B %Y") }}<|im_end|>
        {% for message in messages %}
        <|im_start|>{{ message.role }}
        {{ message.content }}<|im_end|>
        {% endfor %}
        {% if add_generation_prompt %}
        <|im_start|>assistant
        {% endif %}
        ```
    Good:
        ```jinja chat_template.jinja
        {% if date_string is defined %}
        <|im_start|>system
        Today is {{ date_string }}<|im_end|>
        {% endif %}
        {% for message in messages %}
        <|im_start|>{{ message.role }}
        {{ message.content }}<|im_end|>
        {% endfor %}
        {% if add_generation_prompt %}
        <|im_start|>assistant
        {% endif %}
        ```

    Traps: a template may mention `strftime_now` or `date_string` and never print them unless asked to: only the text at
    two moments decides. Text drawn at random is not a date.

    Fix safety: unsafe, the sentence or line with the date leaves the prompt, and nothing else does: the mended template
    renders every conversation of the plan byte for byte as before but for it. Where a caller may pass the date, one
    that is passed is still written. A date that is no sentence of its own is left to you.

    Sources: sglang#3296, unsloth#881, TGI#2987, llama.cpp#12729.
    """
    for rendering in conversations.values():
        for view in rendering.views():
            if found := _difference(view):
                name, before, after = found
                message = (
                    f"{rendering.subject}{view.under} renders {SHOWN[name]} with {shorten(before)} at one moment "
                    f"and with {shorten(after)} at another, expected the same text: what is trained is not what is "
                    "served later"
                )
                yield Finding(message, rendering.template.file, rendering.template.at)
                break


def _difference(view: View) -> tuple[str, str, str] | None:
    for name, later in view.later.items():
        now = view.texts.get(name, later)
        if now != later:
            start = len(os.path.commonprefix([now, later]))
            end = len(os.path.commonprefix([now[: start - 1 : -1], later[: start - 1 : -1]]))
            # Whole words: the digits that two dates happen to share belong to them.
            while start and not now[start - 1].isspace():
                start -= 1
            return name, _words(now, start, end), _words(later, start, end)
    return None


def _words(text: str, start: int, end: int) -> str:
    stop = len(text) - end
    while stop < len(text) and text[stop].isalnum():
        stop += 1
    return text[start:stop].partition("\n")[0]
