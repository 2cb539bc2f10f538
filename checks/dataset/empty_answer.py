"""DAT004 empty-answer."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.dataset.example import Example, Message, text_of
from modelcheck.facts.dataset import Dataset
from modelcheck.finding import Finding, Severity
from modelcheck.render.environment import REASONING

# A few rows are noise; from this share on, the model learns to say nothing.
MANY = 0.05


@check("DAT004", severity=Severity.ERROR)
def empty_answer(dataset: Dataset) -> Iterator[Finding]:
    """An answer of the assistant is empty.

    Symptoms: answers are garbage, or worse than they should be; the model does not stop, or stops in the wrong place

    Why: the only token of an empty answer that carries loss is the end of the turn, right after the header: the model
    learns to answer nothing. In evaluation, an empty reference is matched by an empty answer.

    Common causes:
        - A join left the answer's column empty for some rows. Solution: drop them.
        - A refusal or an error of the model that wrote the rows. Solution: drop them, or write what it should say.

    Bad:
        ```json train.jsonl
        {"messages": [{"role": "user", "content": "What is a token?"}, {"role": "assistant", "content": " "}]}
        ```
    Good:
        ```json train.jsonl
        {"messages": [{"role": "user", "content": "What is a token?"}, {"role": "assistant", "content": "A piece."}]}
        ```

    Traps: a message that calls a tool, or that holds its reasoning in a field of its own, has no content and is right.
    Below 5 % of the rows it is a warning.

    Sources: AlpacaDataCleaned, which took rows with empty outputs out of the published set.
    """
    for split in dataset.splits:
        rows = [row for row in split.examples if _has_empty_answer(row)]
        if not rows:
            continue
        message = (
            f"{split.of(len(rows))} have an empty answer ({split.named(rows)}), expected a text or a tool call: the "
            "model learns to end its turn at once"
        )
        severity = Severity.ERROR if len(rows) >= MANY * split.rows else Severity.WARNING
        yield Finding(message, *split.place(rows), severity)


def _has_empty_answer(row: Example) -> bool:
    return any(_is_empty(message) for message in row.messages if message["role"] == "assistant")


def _is_empty(message: Message) -> bool:
    said_otherwise = any(message.get(key) for key in ("tool_calls", "function_call", *REASONING))
    parts = message.get("content")
    other_parts = isinstance(parts, (list, tuple)) and any(part.get("type") != "text" for part in parts)
    return not said_otherwise and not other_parts and not text_of(message).strip()
