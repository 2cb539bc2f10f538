"""TRN010 overfit-eval-loss."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.facts.training import TrainingLog
from modelcheck.finding import Finding, Severity
from modelcheck.names import TRAINING

# A minimum in the first three quarters, and a rise that no noise makes.
EARLY, RISE = 0.75, 0.05


@check("TRN010", severity=Severity.WARNING)
def overfit_eval_loss(training_log: TrainingLog) -> Iterator[Finding]:
    """The evaluation loss was lowest well before the end of the run.

    Symptoms: answers are garbage, or worse than they should be

    Why: From its minimum on, the model learns the rows and no longer the skill. What is saved is the last step, not the
    best.

    Common causes:
        - Too many epochs for the data. Solution: end the run near the step that the finding names.
        - The learning rate is too high or the rank too large for the data. Solution: lower them.
        - Evaluation rows of another kind than the training rows. Solution: draw both from one source.

    Bad:
        ```json training_evidence.json
        {"log": {"steps_expected": 120, "steps_planned": 120, "steps_done": 120, "rows": 1280, "warmup": 0.01,
            "warmup_steps": 2, "lr_asked": 0.0001, "evaluations": {"count": 10, "best_step": 36, "best_loss": 0.71,
            "last_step": 120, "last_loss": 0.93}}}
        ```
    Good:
        ```json training_evidence.json
        {"log": {"steps_expected": 120, "steps_planned": 120, "steps_done": 120, "rows": 1280, "warmup": 0.01,
            "warmup_steps": 2, "lr_asked": 0.0001, "evaluations": {"count": 10, "best_step": 108, "best_loss": 0.71,
            "last_step": 120, "last_loss": 0.72}}}
        ```

    Traps: a loss may rise while answers still get better: it is a warning, and the gate decides. A rise below 5 % is
    noise.

    Sources: common practice of early stopping; the thresholds are ours: first three quarters of the run, 5 %.
    """
    seen = training_log.evaluations
    if seen and seen["best_step"] < EARLY * seen["last_step"] and seen["last_loss"] > (1 + RISE) * seen["best_loss"]:
        yield Finding(
            f"the evaluation loss was lowest at step {seen['best_step']} ({seen['best_loss']:.4g}) and is "
            f"{seen['last_loss']:.4g} at step {seen['last_step']}, expected its minimum near the end: the model that "
            "is saved is overfitted",
            TRAINING,
            "/log/evaluations",
        )
