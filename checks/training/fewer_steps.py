"""TRN008 fewer-steps."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.facts.training import TrainingLog
from modelcheck.finding import Finding, Severity
from modelcheck.names import TRAINING


@check("TRN008", severity=Severity.ERROR)
def fewer_steps(training_log: TrainingLog) -> Iterator[Finding]:
    """Training ended after fewer steps than the data and the epochs make.

    Symptoms: training runs, and part of the model does not learn

    Why: Rows that are dropped, packed or read once instead of twice make a run shorter than planned. The schedule then
    ends early or never anneals, and rows are never seen.

    Common causes:
        - The trainer dropped rows that are too long or have no answer. Solution: see no-supervised-tokens.
        - max_steps of an example was left in the arguments. Solution: remove it, or set it in the job.
        - The run was ended and not resumed. Solution: run again, it goes on where it stopped.

    Bad:
        ```json training_evidence.json
        {"log": {"steps_expected": 120, "steps_planned": 120, "steps_done": 60, "rows": 1280, "warmup": 0.01,
            "warmup_steps": 2, "lr_asked": 0.0001}}
        ```
    Good:
        ```json training_evidence.json
        {"log": {"steps_expected": 120, "steps_planned": 120, "steps_done": 120, "rows": 1280, "warmup": 0.01,
            "warmup_steps": 2, "lr_asked": 0.0001}}
        ```

    Traps: packing makes fewer steps on purpose: then the expected number is the trainer's own.

    Sources: trl#3927 (rows dropped silently).
    """
    done, expected = training_log.steps_done, training_log.steps_expected
    if done < expected:
        yield Finding(
            f"{done} steps were done, expected {expected} from {training_log.rows} rows (the trainer planned "
            f"{training_log.steps_planned}): part of the data was not trained on",
            TRAINING,
            "/log/steps_done",
        )
