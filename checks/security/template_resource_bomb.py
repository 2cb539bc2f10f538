"""SEC001 template-resource-bomb."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from modelcheck.check import check
from modelcheck.facts.conversations import Rendering
from modelcheck.finding import Finding, Severity


@check("SEC001", severity=Severity.ERROR)
def template_resource_bomb(rendered: Mapping[str, Rendering]) -> Iterator[Finding]:
    """The chat template uses up the machine that renders it.

    Symptoms: a downloaded file could do harm

    Why: a chat template is a program that comes with the download and runs in your trainer or server. jinja2's sandbox
    keeps it from your files, not from endless loops, numbers of a billion digits or strings of gigabytes: one request
    takes the process down. modelcheck renders templates in a process of its own with bounds, and this one hit them.

    Common causes:
        - The checkpoint is hostile. Solution: do not load it; report it where you got it.
        - A loop or recursion in the template has no end. Solution: compare with the template of the base model.

    Bad:
        ```jinja chat_template.jinja
        {% for message in messages %}{{ message.content }}{% endfor %}{{ 9 ** (9 ** 9) }}
        ```
    Good:
        ```jinja chat_template.jinja
        {% for message in messages %}
        <|im_start|>{{ message.role }}
        {{ message.content }}<|im_end|>
        {% endfor %}
        {% if add_generation_prompt %}
        <|im_start|>assistant
        {% endif %}
        ```

    Traps: a long template is no bomb: real ones render a conversation in under a millisecond. A machine too busy to run
    the renderer is could-not-check.

    Sources: measured: `9 ** (9 ** 9)` hangs while the template is being compiled, before anything is rendered.
    """
    for rendering in rendered.values():
        cause = rendering.killed or rendering.flooded
        if cause:
            message = (
                f"rendering {rendering.subject} had to be stopped: {cause}, expected milliseconds and kilobytes: "
                "it takes down whatever trainer or server loads this checkpoint"
            )
            yield Finding(message, rendering.template.file, rendering.template.at)
