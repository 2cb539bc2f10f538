"""TRN013 loss-rose."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.facts.training import TrainingLog
from modelcheck.finding import Finding, Severity
from modelcheck.names import TRAINING

# No noise of single batches: both ends are taken over several steps.
RISE = 1.05


@check("TRN013", severity=Severity.ERROR)
def loss_rose(training_log: TrainingLog) -> Iterator[Finding]:
    """The training loss is higher at the end than it was before the first step.

    Symptoms: answers are garbage, or worse than they should be; training runs, and part of the model does not learn

    Why: a run that ends above where it began has unlearned its own rows: the steps were too large. Everything that it
    saved is worse than the base, and its loss was finite all the time.

    Common causes:
        - The learning rate is too high, often one for LoRA used for full training. Solution: divide it by ten.
        - No warm-up, so that the first steps throw the model out. Solution: warm up over a few percent of the run.

    Bad:
        ```json training_evidence.json
        {"log": {"steps_expected": 120, "steps_planned": 120, "steps_done": 120, "rows": 1280, "warmup": 0.01,
            "warmup_steps": 2, "lr_asked": 0.1, "loss": {"first": 1.9, "last": 4.0}}}
        ```
    Good:
        ```json training_evidence.json
        {"log": {"steps_expected": 120, "steps_planned": 120, "steps_done": 120, "rows": 1280, "warmup": 0.01,
            "warmup_steps": 2, "lr_asked": 0.0001, "loss": {"first": 1.9, "last": 0.4}}}
        ```

    Traps: noise in the labels keeps a loss from falling, it does not make it rise. Runs of fewer than ten steps are too
    short to tell: silent.

    Sources: planted in the tiny job: a rate of 0.1 took the loss from 1.9 to 4.0; the threshold, 5 %, is ours.
    """
    seen = training_log.loss
    if seen and seen["last"] > RISE * seen["first"]:
        yield Finding(
            f"the training loss rose from {seen['first']:.3g} to {seen['last']:.3g} with a learning rate of "
            f"{training_log.lr_asked:g}, expected it to fall: the steps were too large, and the model is worse than "
            "its base on the very rows that it was trained on; lower the rate",
            TRAINING,
            "/log/loss",
        )
