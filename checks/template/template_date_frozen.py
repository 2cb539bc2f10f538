"""TPL003 template-date-frozen."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from modelcheck.check import check
from modelcheck.facts.conversations import Rendering, View
from modelcheck.finding import Finding, Severity

MONTH = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*"
DATE = re.compile(rf"\b(?:\d{{1,2}} {MONTH},? 20\d\d|{MONTH} \d{{1,2}}, 20\d\d|(?<![\w-])20\d\d-\d\d-\d\d)(?![\w-])")
CUTOFF = re.compile(r"cut-?\s?off|cutting|knowledge", re.IGNORECASE)
PROMPTS = ("user", "prompt", "system_prompt")


@check("TPL003", severity=Severity.WARNING)
def template_date_frozen(conversations: Mapping[str, Rendering]) -> Iterator[Finding]:
    """The chat template tells the model a fixed date as if it were today's.

    Symptoms: training and serving see different text; answers are garbage, or worse than they should be

    Why: the model is told a wrong date in every prompt, answers questions about time from it, and carries the line
    through the whole of a fine-tune.

    Common causes:
        - The template falls back to a literal date where the caller passes none. Solution: pass `date_string=...`,
          the same in training and serving, or take the line out before training.
        - A template that asked for the date was saved after rendering. Solution: take the original template.

    Bad:
        ```jinja chat_template.jinja
        <|im_start|>system
        Today Date: {{ date_string | default("26 Jul 2024") }}<|im_end|>
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
        <|im_start|>system
        Knowledge cutoff: December 2023<|im_end|>
        {% for message in messages %}
        <|im_start|>{{ message.role }}
        {{ message.content }}<|im_end|>
        {% endfor %}
        {% if add_generation_prompt %}
        <|im_start|>assistant
        {% endif %}
        ```

    Traps: a knowledge cutoff is a date that is meant to stay: a month without a day is silent, and so is a line that
    says so. A date that moves with the clock is the rule template-date.

    Fix safety: unsafe, as for `template-date`: the sentence with the date leaves the prompt, unless the caller passes a
    date.

    Sources: Llama 3.1 and 3.2 templates (default and fallback of `date_string`), measured.
    """
    for rendering in conversations.values():
        moving = {date for view in rendering.views() for date in _moving(view)}
        for view in rendering.views():
            dates = (date for name in PROMPTS for date in _dates(view.texts.get(name, "")))
            if date := next((date for date in dates if date not in moving), None):
                message = (
                    f"{rendering.subject}{view.under} writes the fixed date {date!r} into the prompt, expected none or "
                    "the caller's: the model is told in training and in use that this is the present"
                )
                yield Finding(message, rendering.template.file, rendering.template.at)
                break


def _moving(view: View) -> Iterator[str]:
    for name, later in view.later.items():
        yield from (date for date in _dates(view.texts.get(name, "")) if date not in later)


def _dates(text: str) -> Iterator[str]:
    return (found[0] for line in text.splitlines() if not CUTOFF.search(line) for found in DATE.finditer(line))
