"""TPL005 no-terminator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from modelcheck.check import check
from modelcheck.facts.conversations import Rendering
from modelcheck.finding import Finding, Severity


@check("TPL005", severity=Severity.WARNING)
def no_terminator(conversations: Mapping[str, Rendering]) -> Iterator[Finding]:
    """The chat template writes nothing after the last assistant message.

    Symptoms: the model does not stop, or stops in the wrong place

    Why: a model trained on its text never sees a turn end, so it never learns to stop and writes on until the length
    limit. A model that was trained with another template stops for now, and forgets it in the fine-tune.

    Common causes:
        - The template counts on the next turn's marker to end the last one. Solution: use the training variant of the
          template that TRL ships for the model, or add the EOS after assistant messages.
        - The template is of a base, embedding or guard model that was never meant to be trained on chats. Solution:
          set a chat template before training.

    Bad:
        ```jinja chat_template.jinja
        {% for message in messages %}
        <|im_start|>{{ message.role }}
        {{ message.content }}
        {% endfor %}
        {% if add_generation_prompt %}
        <|im_start|>assistant
        {% endif %}
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

    Traps: blank text is no terminator. A template that prints no assistant message at all is not judged.
    A switch that leaves the last message open, and changes nothing else, is there to have it continued.

    Sources: TRL's is_chat_template_stop_token_trained; axolotl's warning about EOS and EOT; 92 of 786 published
    templates.
    """
    for rendering in conversations.values():
        base = next(rendering.views()).texts.get("chat", "")
        for view in rendering.views():
            tail = view.after_assistant
            # A switch that takes away the terminator and nothing else is there to continue the last message.
            left_open = bool(view.switches) and base.startswith(view.texts.get("chat", ""))
            if tail is not None and not tail.strip() and not left_open:
                shown = "nothing" if not tail else f"only {tail!r}"
                message = (
                    f"{rendering.subject}{view.under} writes {shown} after the last assistant message, expected a "
                    "token that ends the turn: a model tuned with it does not learn to stop"
                )
                yield Finding(message, rendering.template.file, rendering.template.at)
                break
