"""TRN006 learning-rate-not-applied."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.facts.training import TrainingLog
from modelcheck.finding import Finding, Severity
from modelcheck.names import TRAINING


@check("TRN006", severity=Severity.ERROR)
def learning_rate_not_applied(training_log: TrainingLog) -> Iterator[Finding]:
    """The optimizer did not use the learning rate that was asked for.

    Symptoms: answers are garbage, or worse than they should be

    Why: A trainer that builds its own scheduler overwrites one that was handed to it. The loss still falls. What is
    lost is the warm-up, or the annealing that takes the noise out at the end.

    Common causes:
        - A custom scheduler is overwritten when the trainer sets up. Solution: override create_scheduler, or set it
          again after that.
        - The scheduler is stepped once for each process. Solution: let accelerate prepare it.
        - The schedule was computed for another number of steps. Solution: compute it from the trainer's own.

    Bad:
        ```json training_evidence.json
        {"log": {"steps_expected": 120, "steps_planned": 120, "steps_done": 120, "rows": 1280, "warmup": 0.01,
            "warmup_steps": 2, "lr_asked": 0.0001, "lr_wrong": {"step": 120, "asked": 2e-06, "used": 0.0001,
            "steps": 60}}}
        ```
    Good:
        ```json training_evidence.json
        {"log": {"steps_expected": 120, "steps_planned": 120, "steps_done": 120, "rows": 1280, "warmup": 0.01,
            "warmup_steps": 2, "lr_asked": 0.0001}}
        ```

    Traps: the rate is that of the optimizer's first group at the step itself, not what the scheduler says it would be.

    Sources: a recorded run whose custom scheduler was overwritten unless set again.
    """
    wrong = training_log.lr_wrong
    if wrong:
        yield Finding(
            f"at step {wrong['step']} the optimizer used a learning rate of {wrong['used']:.3g}, expected "
            f"{wrong['asked']:.3g} of the schedule asked for; {wrong['steps']} of {training_log.steps_done} steps are "
            "off: the schedule was not applied",
            TRAINING,
            "/log/lr_wrong",
        )
