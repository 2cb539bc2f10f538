"""TPL009 prompt-not-prefix."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from modelcheck.check import check
from modelcheck.facts.conversations import PROSE, Rendering, View
from modelcheck.facts.files import shorten
from modelcheck.finding import Finding, Severity
from modelcheck.render.sentinels import ASSISTANT, USER


@check("TPL009", severity=Severity.WARNING)
def prompt_not_prefix(conversations: Mapping[str, Rendering]) -> Iterator[Finding]:
    """The prompt that asks for an answer is not how the same conversation begins once the answer is there.

    Symptoms: training and serving see different text; training runs, and part of the model does not learn

    Why: trainers find the answer, which alone carries loss, by rendering the conversation without and with it. Where
    the first is no prefix of the second the mask is cut in the wrong place, and the model is asked at serving time in a
    form that it has never seen in training.

    Common causes:
        - The generation prompt opens a `<think>` that the template leaves out of the history. Solution: train with a
          variant of the template that writes it in both, as TRL has for many models.
        - The generation prompt ends with a space or newline that the history lacks. Solution: write it in both.

    Bad:
        ```jinja chat_template.jinja
        {% for m in messages %}<|im_start|>{{ m.role }}
        {{ m.content }}<|im_end|>
        {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
        <think>
        {% endif %}
        ```
    Good:
        ```jinja chat_template.jinja
        {% for m in messages %}<|im_start|>{{ m.role }}
        {{ m.content }}<|im_end|>
        {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
        {% endif %}
        ```

    Traps: reasoning models are often published so and are right at serving; the warning is for who trains them. What
    happens only under a switch such as `enable_thinking` is information and says so. A template that ends with a
    question in prose (guard models) is no chat.

    Sources: TRL's README and `get_training_chat_template`; trl PR #6363; measured on DeepSeek-V3 and Nemotron 3.
    """
    for rendering in conversations.values():
        for view in rendering.views():
            if (parted := _parting(view)) is not None:
                prompt, chat = parted
                yield Finding(
                    f"{rendering.subject}{view.under} goes on with {shorten(prompt)} where it asks for an answer and "
                    f"with {shorten(chat)} where the answer is there, expected the same up to the answer: the loss "
                    "mask is cut in the wrong place, and serving differs from training",
                    rendering.template.file,
                    rendering.template.at,
                    Severity.INFO if view.switches else Severity.WARNING,
                )
                break


def _parting(view: View) -> tuple[str, str] | None:
    """How the two go on from where they part, or None."""
    prompt, chat = view.texts.get("prompt", ""), view.texts.get("chat", "")
    if USER not in prompt or view.before_assistant is None or chat.startswith(prompt):
        return None
    shared = len(os.path.commonprefix([prompt, chat]))
    rest = prompt[shared:]
    # A question in prose stands behind the user's message, wherever the two texts part.
    question = rest if shared > prompt.index(USER) else prompt.rpartition(USER)[2]
    if sum(map(str.isalpha, question)) > PROSE:
        return None
    return rest, chat[shared:].replace(ASSISTANT, "<the answer>")
