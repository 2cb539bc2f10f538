"""DAT005 few-rows."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.facts.dataset import Dataset
from modelcheck.finding import Finding, Severity

FEWEST, START = 10, "50 to 100"


@check("DAT005", severity=Severity.WARNING)
def few_rows(dataset: Dataset) -> Iterator[Finding]:
    """There are fewer than 10 training rows.

    Symptoms: answers are garbage, or worse than they should be

    Why: so few rows are learned by heart in a few steps; what the model should generalise from them it cannot know. The
    warm-up of such a run rounds to zero steps.

    Common causes:
        - The file is a sample, or was cut. Solution: name the whole one.
        - There is no more data yet. Solution: put the examples into the prompt, which costs no training.

    Bad:
        ```json train.jsonl
        null
        null
        null
        ```
    Good:
        ```json train.jsonl
        null
        null
        ```

    Traps: only rows of training count, without those that a job replays; of evaluation rows, the gate says how many it
    needs.

    Sources: OpenAI's fine-tuning guide (at least 10 rows, 50 to 100 as a start).
    """
    split = dataset.train
    rows = split.rows - dataset.replayed if split is not None else 0
    if split is not None and split.whole and rows < FEWEST:
        message = (
            f"there are {rows} training rows, expected {FEWEST} or more and {START} as a start: the model learns "
            "them by heart and nothing else"
        )
        yield Finding(message, split.file)
