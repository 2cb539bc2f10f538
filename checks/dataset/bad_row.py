"""DAT001 bad-row."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.facts.dataset import Dataset
from modelcheck.finding import Finding, Severity


@check("DAT001", severity=Severity.ERROR)
def bad_row(dataset: Dataset) -> Iterator[Finding]:
    """A row of the data set is no conversation, or has another form than the first.

    Symptoms: training runs, and part of the model does not learn; training and serving see different text

    Why: a trainer stops at such a row after hours of preparation or, worse, takes a missing column for an empty text
    and trains on that.

    Common causes:
        - Files of different origin were concatenated (`messages` here, `conversations` there). Solution: convert them
          to one form.
        - A script wrote a half line, or JSON with a trailing comma. Solution: write rows with a JSON library.

    Bad:
        ```json train.jsonl
        {"messages": [{"role": "user", "content": "What is a token?"}, {"role": "assistant", "content": "A piece."}]}
        {"prompt": "What is a shard?", "completion": "One of several files."}
        ```
    Good:
        ```json train.jsonl
        {"messages": [{"role": "user", "content": "What is a token?"}, {"role": "assistant", "content": "A piece."}]}
        {"messages": [{"role": "user", "content": "What is it?"}, {"role": "assistant", "content": "A file."}]}
        ```

    Traps: empty lines, null values, a byte order mark and columns that nothing reads are fine. Rows that are encoded
    already, and live data sets of a form that is not known here, are not looked at.

    Sources: trl's dataset formats; LLaMA-Factory's and axolotl's converters of ShareGPT and Alpaca rows.
    """
    for split in dataset.splits:
        if split.bad:
            first = split.bad[0]
            message = (
                f"{split.of(len(split.bad))} cannot be read as the others, the first is row {first.row}: it "
                f"{first.problem}; expected rows of one form: trainers stop there or train on empty texts"
            )
            yield Finding(message, split.file, split.at(first.row))
