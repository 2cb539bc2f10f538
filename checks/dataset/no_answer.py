"""DAT003 no-answer."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.dataset.example import ROLES
from modelcheck.facts.dataset import Dataset
from modelcheck.finding import Finding, Severity


@check("DAT003", severity=Severity.ERROR)
def no_answer(dataset: Dataset) -> Iterator[Finding]:
    """A training row does not end with an answer of the assistant.

    Symptoms: training runs, and part of the model does not learn

    Why: with loss on answers alone, such a row teaches nothing after its last answer, and without any answer nothing at
    all: its tokens are masked, and trainers drop it or average over zero tokens.

    Common causes:
        - A chat log was cut between two turns. Solution: drop the turns after the last answer.
        - The answer is in a column that was not merged in. Solution: name it, as `completion` or with columns.

    Bad:
        ```json train.jsonl
        {"messages": [{"role": "user", "content": "What is a token?"}]}
        ```
    Good:
        ```json train.jsonl
        {"messages": [{"role": "user", "content": "What is a token?"}, {"role": "assistant", "content": "A piece."}]}
        ```

    Traps: evaluation rows may end with a question. A set in which no row at all has an answer is one of prompts, as
    GRPO trains on: a warning. Rows that are plain texts have no roles. A tool call is an answer.

    Sources: trl#3927, trl#3728 (rows without a supervised token); trl's prompt-only format.
    """
    if (split := dataset.train) is None:
        return
    rows = [r for r in split.examples if r.text is None and (not r.messages or r.messages[-1]["role"] in ROLES)]
    without = [row for row in rows if row.answer is None]
    if not without:
        return
    if len(without) == split.rows and not any(m["role"] == "assistant" for row in rows for m in row.messages):
        message = (
            f"none of the {split.rows} training rows has an answer, expected one that ends each row: supervised "
            "fine-tuning learns nothing from prompts alone; training by rewards does"
        )
        yield Finding(message, split.file, severity=Severity.WARNING)
        return
    last = without[0].messages[-1]["role"] if without[0].messages else "nothing"
    message = (
        f"{split.of(len(without))} do not end with an answer ({split.named(without)}; the first ends with {last!r}), "
        "expected a message of the assistant: no loss falls on what they end with"
    )
    yield Finding(message, *split.place(without))
