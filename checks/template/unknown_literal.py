"""TPL010 unknown-literal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from modelcheck.check import check
from modelcheck.fact import Missing
from modelcheck.facts.conversations import Rendering
from modelcheck.facts.files import some
from modelcheck.facts.special_tokens import SpecialTokens
from modelcheck.facts.vocabulary import Vocabulary
from modelcheck.finding import Finding, Severity

# Forms that are nothing but control tokens. `<think>`, `<tool_call>` and `[INST]` are plain text in many models.
MARKER = re.compile(r"<(?:\|[^\s<>|]{1,40}\||\uff5c[^\s<>\uff5c]{1,40}\uff5c|(?:start|end)_of_turn|\|?turn\|?)>")
OF_TOOLS = ("tools", "tool_call")


@check("TPL010", severity=Severity.ERROR)
def unknown_literal(
    conversations: Mapping[str, Rendering], vocabulary: Vocabulary, special_tokens: SpecialTokens
) -> Iterator[Finding]:
    """The chat template writes what looks like a control token, and the tokenizer has no such token.

    Symptoms: training and serving see different text; answers are garbage, or worse than they should be

    Why: the marker is cut into ordinary pieces, `<`, `|`, `im`, and so on. A user can write the same pieces, the model
    has never seen them as a unit, and a turn that should end with one of them never ends.

    Common causes:
        - The template of another family was put on the model. Solution: use the template of the family, or add the
          tokens and train their rows.
        - A typing error in the marker. Solution: write it as the tokenizer does.

    Bad:
        ```jinja chat_template.jinja
        {% for m in messages %}<|role|>{{ m.role }}
        {{ m.content }}<|im_end|>
        {% endfor %}{% if add_generation_prompt %}<|role|>assistant
        {% endif %}
        ```
    Good:
        ```jinja chat_template.jinja
        {% for m in messages %}<|im_start|>{{ m.role }}
        {{ m.content }}<|im_end|>
        {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
        {% endif %}
        ```

    Traps: models have been published whose role headers are plain text on purpose and whose turns end with a real token
    (Zephyr, Tulu): a warning, and an error where the unknown marker is what ends the assistant's turn. Markers that
    only stand around tools are information. `<think>`, `<tool_call>` and `[INST]` are ordinary text in many models.

    Sources: lmdeploy and unsloth on foreign templates; transformers' tokenizers cut unknown markers into pieces.
    """
    if not vocabulary.complete:
        raise Missing("which markers are tokens cannot be told without tokenizer.json")
    known = {token.content for _, token in special_tokens}
    for rendering in conversations.values():
        seen: dict[str, bool] = {}
        for outcome in rendering.outcomes:
            for marker in MARKER.findall(outcome.text or ""):
                seen[marker] = seen.get(marker, False) or outcome.name not in OF_TOOLS
        unknown = {m: plain for m, plain in seen.items() if m not in known and vocabulary.id(m) is None}
        if not unknown:
            continue
        tails = [view.after_assistant or "" for view in rendering.views()]
        ending = [m for m in unknown if any(_ends_turn(tail, m, unknown, known=known) for tail in tails)]
        names = ending or [m for m, plain in unknown.items() if plain] or list(unknown)
        severity = Severity.ERROR if ending else Severity.WARNING if any(unknown.values()) else Severity.INFO
        consequence = "no token ends the turn" if ending else "it is cut into pieces that a user can write as well"
        yield Finding(
            f"{rendering.subject} writes {some(names)}, expected tokens of the tokenizer: {consequence}",
            rendering.template.file,
            rendering.template.at,
            severity,
        )


def _ends_turn(tail: str, marker: str, unknown: Mapping[str, bool], *, known: set[str]) -> bool:
    """Whether the marker comes first after the answer and no real token follows."""
    found = MARKER.findall(tail)
    real = any(m not in unknown for m in found) or any(token in tail for token in known if token)
    return bool(found) and found[0] == marker and not real
