"""TRN003 no-supervised-tokens."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.facts.training import Labels
from modelcheck.finding import Finding, Severity
from modelcheck.names import TRAINING

# The share of rows above which it is no longer a few overlong ones.
MANY = 0.05


@check("TRN003", severity=Severity.ERROR)
def no_supervised_tokens(label_audit: Labels) -> Iterator[Finding]:
    """Rows carry no loss at all: training on them teaches nothing.

    Symptoms: training runs, and part of the model does not learn

    Why: A row without a supervised token costs its share of every step and changes nothing; where all rows are such,
    the loss is zero or no number. TRL drops such rows without a word, so the run is also shorter than the data.

    Common causes:
        - max_length cuts the answer away behind a long prompt. Solution: raise it, or leave such rows out.
        - The answer is empty. Solution: leave the row out.
        - The role of the answers is not `assistant`. Solution: rename it in the data.

    Bad:
        ```json training_evidence.json
        {"labels": {"rows": 640, "audited": 640, "tokens": 16640, "supervised": 2560, "end_tokens": ["<|im_end|>"],
            "ends_supervised": 640, "rows_without_loss": 64, "prompt_rows": 640, "prompt_tokens": 14080,
            "prompts_compared": 8}}
        ```
    Good:
        ```json training_evidence.json
        {"labels": {"rows": 640, "audited": 640, "tokens": 16640, "supervised": 2560, "end_tokens": ["<|im_end|>"],
            "ends_supervised": 640, "prompt_rows": 640, "prompt_tokens": 14080, "prompts_compared": 8}}
        ```

    Traps: up to one row in twenty is a warning: a few overlong rows are the rule in real data.

    Sources: trl#3927, trl#3728; TRL's SFTTrainer drops fully masked rows after truncation.
    """
    silent, rows = label_audit.rows_without_loss + label_audit.dropped, label_audit.audited + label_audit.dropped
    if silent:
        yield Finding(
            f"{silent} of {rows} rows have no token that carries loss ({label_audit.dropped} of them were dropped by "
            "the trainer), expected an answer in each: training on them teaches nothing",
            TRAINING,
            "/labels/rows_without_loss",
            Severity.ERROR if silent > MANY * rows else Severity.WARNING,
        )
