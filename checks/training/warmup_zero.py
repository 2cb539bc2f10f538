"""TRN009 warmup-zero."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.facts.training import TrainingLog
from modelcheck.finding import Finding, Severity
from modelcheck.names import TRAINING


@check("TRN009", severity=Severity.WARNING)
def warmup_zero(training_log: TrainingLog) -> Iterator[Finding]:
    """The warm-up that was asked for is zero steps long.

    Symptoms: answers are garbage, or worse than they should be

    Why: A share of a short run rounds down to nothing: 1 % of 90 steps is no step. The first steps, with the
    optimizer's averages still empty, are then taken at the full rate.

    Common causes:
        - A warm-up ratio on a short run. Solution: ask for a number of steps, or a larger share.

    Bad:
        ```json training_evidence.json
        {"log": {"steps_expected": 120, "steps_planned": 120, "steps_done": 120, "rows": 1280, "warmup": 0.01,
            "warmup_steps": 0, "lr_asked": 0.0001}}
        ```
    Good:
        ```json training_evidence.json
        {"log": {"steps_expected": 120, "steps_planned": 120, "steps_done": 120, "rows": 1280, "warmup": 0.01,
            "warmup_steps": 2, "lr_asked": 0.0001}}
        ```

    Traps: no warm-up at all is a choice that many LoRA recipes make: only one that was asked for is missed.

    Sources: transformers up to 4.x rounds warmup_ratio down in some trainers; a recorded run lost its 1 %.
    """
    if training_log.warmup > 0 and not training_log.warmup_steps and training_log.steps_done:
        yield Finding(
            f"no step was taken below the full learning rate, expected a warm-up of {training_log.warmup:.1%} of "
            f"{training_log.steps_done} steps: the first steps ran at the full rate",
            TRAINING,
            "/log/warmup_steps",
        )
