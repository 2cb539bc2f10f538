"""DAT002 unknown-role."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from modelcheck.check import check
from modelcheck.dataset.example import ROLES, Example
from modelcheck.errors import did_you_mean
from modelcheck.facts.chat_template import Template
from modelcheck.facts.dataset import Dataset, Split
from modelcheck.finding import Finding, Severity


@check("DAT002", severity=Severity.ERROR)
def unknown_role(dataset: Dataset, chat_template: Mapping[str, Template] | None = None) -> Iterator[Finding]:
    """A message has a role that the chat template does not know.

    Symptoms: training and serving see different text; answers are garbage, or worse than they should be

    Why: a lenient template writes the unknown role as a header that serving never sends; a strict one drops the message
    or raises. Where the role should be `assistant`, nothing of the answer carries loss.

    Common causes:
        - ShareGPT's names in OpenAI's form (`gpt`, `human`). Solution: rename them to `assistant` and `user`.
        - A capital letter (`Assistant`). Solution: roles are written in small letters.

    Bad:
        ```json eval.jsonl
        {"messages": [{"role": "human", "content": "What is a head?"}, {"role": "assistant", "content": "A part."}]}
        ```
    Good:
        ```json eval.jsonl
        {"messages": [{"role": "user", "content": "What is a head?"}, {"role": "assistant", "content": "A part."}]}
        ```

    Traps: `developer`, `tool`, `function` and `ipython` are roles of published templates, and so is whatever role the
    checkpoint's own template names (`documents`, `context`). In rows of ShareGPT's form, `human` and `gpt` are right.

    Sources: trl's dataset formats; the ShareGPT converters of LLaMA-Factory and axolotl.
    """
    named = " ".join(template.text for template in (chat_template or {}).values())
    for split in dataset.splits:
        for role, rows in _roles(split).items():
            if role in ROLES or f"'{role}'" in named or f'"{role}"' in named:
                continue
            message = (
                f"{split.of(len(rows))} have a message of role {role!r} ({split.named(rows)}), expected one of "
                f"{', '.join(sorted(ROLES))} or a role that the template names{did_you_mean(role, ROLES)}: "
                "serving never sends such a turn, and no loss falls on its answers"
            )
            yield Finding(message, *split.place(rows))


def _roles(split: Split) -> Mapping[str, list[Example]]:
    found: dict[str, list[Example]] = {}
    for row in split.examples:
        for role in dict.fromkeys(message["role"] for message in row.messages):
            found.setdefault(role, []).append(row)
    return found
