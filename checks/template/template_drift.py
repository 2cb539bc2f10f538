"""TPL011 template-drift."""

from __future__ import annotations

import os
from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.facts.drift import OtherText
from modelcheck.facts.files import shorten
from modelcheck.finding import Finding, Severity

AROUND = 12


@check("TPL011", severity=Severity.WARNING)
def template_drift(template_drift: tuple[OtherText, ...]) -> Iterator[Finding]:
    r"""The chat template renders conversations otherwise than the base's.

    Symptoms: training and serving see different text; answers are garbage, or worse than they should be

    Why: a server renders prompts by the template that was saved. If training rendered by another, the model is asked in
    a form that it was not trained on.

    Common causes:
        - The template was edited, or replaced by a default, between training and saving. Solution: copy the template
          that was trained with beside the model.
        - The base was trained on under a new template on purpose. Solution: allow the rule.

    Bad:
        ```jinja chat_template.jinja
        You are kind.
        {% for m in messages %}<|im_start|>{{ m.role }}
        {{ m.content }}<|im_end|>
        {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
        {% endif %}
        ```
        ```json base/config.json
        {}
        ```
    Good:
        ```jinja chat_template.jinja
        {%- for m in messages -%}
        {{ '<|im_start|>' ~ m.role ~ '\n' }}{% generation %}{{ m.content ~ '<|im_end|>\n' }}{% endgeneration %}
        {%- endfor -%}
        {%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif -%}
        ```
        ```json base/config.json
        {}
        ```

    Traps: asked only where the base is named with `--base` and has a template. Compared is what both render for the
    conversations of `modelcheck render`, so that another file, other blank space between statements and generation
    markers are silent; so is a conversation that the base's template refuses. That a model was given another template
    on purpose cannot be seen from its files: information; a template that is gone is a warning, and in a job both are
    errors.

    Sources: TRL 1.16 puts generation markers into templates that it knows; transformers 5 moves templates to
    chat_template.jinja.
    """
    for other in template_drift:
        named = "the chat template" if other.name == "default" else f"the chat template {other.name!r}"
        if other.own is None:
            start = shorten(other.base[: 4 * AROUND])
            message = f"{named} of the base does not render {other.conversation!r} here, expected {start}"
        else:
            at = len(os.path.commonprefix([other.own, other.base]))
            own, base = (shorten(text[max(0, at - AROUND) : at + 3 * AROUND]) for text in (other.own, other.base))
            message = (
                f"{named} renders {other.conversation!r} with {own} at character {at}, expected {base} as in the base"
            )
        consequence = "prompts are not what the model was trained on, unless it was trained under this template"
        severity = Severity.WARNING if other.own is None else Severity.INFO
        yield Finding(f"{message}: {consequence}", other.template.file, other.template.at, severity)
