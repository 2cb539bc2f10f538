"""TPL006 generation-prompt-ignored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from modelcheck.check import check
from modelcheck.facts.conversations import Rendering, View
from modelcheck.facts.files import shorten
from modelcheck.finding import Finding, Severity


@check("TPL006", severity=Severity.WARNING)
def generation_prompt_ignored(conversations: Mapping[str, Rendering]) -> Iterator[Finding]:
    """The chat template does not open the assistant's turn when it is asked to.

    Symptoms: training and serving see different text; answers are garbage, or worse than they should be

    Why: with `add_generation_prompt=True` the prompt must end with the header of the assistant's turn, as it stands
    before every answer in training. Without it the model has to guess the header first: it may write another user
    turn, or answer in a format that the caller cannot parse.

    Common causes:
        - The template was saved by a trainer that keeps no generation prompt. Solution: append the block of the Good
          example, with the header that stands before the assistant's messages.
        - The template prints the header always, also after the last answer. Solution: print it only where
          `add_generation_prompt` is set.

    Bad:
        ```jinja chat_template.jinja
        {% for message in messages %}
        <|im_start|>{{ message.role }}
        {{ message.content }}<|im_end|>
        {% endfor %}
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

    Traps: where the answer follows the user's turn directly (`[INST]` templates, or a header glued to the user's turn)
    there is nothing to add. A header that is always there, also after the last answer, is information.

    Fix safety: unsafe, a block is appended that writes what stands before the assistant's messages; every rendering
    without add_generation_prompt stays as it is, with it only the header is added. A header that is printed always is
    left to you.

    Sources: unsloth's tokenizer_utils; of 145 published templates that ignore the flag, 112 have nothing to add.
    """
    for rendering in conversations.values():
        for view in rendering.views():
            if found := _fault(view):
                fault, severity = found
                message = f"{rendering.subject}{view.under} {fault}"
                yield Finding(message, rendering.template.file, rendering.template.at, severity)
                break


def _fault(view: View) -> tuple[str, Severity] | None:
    user, prompt = view.texts.get("user"), view.texts.get("prompt")
    if user is None or user != prompt:
        return None
    if not all(isinstance(value, bool) for value in view.switches.values()):
        return None  # a mode with a name of its own may be for another thing than chatting
    if dangling := view.dangling_header:
        always = (
            f"prints the assistant header ({shorten(dangling)}) always, also after the last answer, expected it only "
            "with add_generation_prompt=True: training texts end with a header that nothing follows"
        )
        return always, Severity.INFO
    if not view.missing_header:
        return None
    never = (
        "renders the same text with add_generation_prompt=True as without, expected it to end with "
        f"{shorten(view.missing_header)}, which stands before the assistant's messages: "
        "the model has to guess that it is to answer"
    )
    return never, Severity.WARNING
