"""TRN007 non-finite-loss."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.facts.training import TrainingLog
from modelcheck.finding import Finding, Severity
from modelcheck.names import TRAINING

# Steps that loss scaling may skip while it looks for its scale.
FEW = 5


@check("TRN007", severity=Severity.ERROR)
def non_finite_loss(training_log: TrainingLog) -> Iterator[Finding]:
    """The loss or the gradient norm was no finite number at a step.

    Symptoms: answers are garbage, or worse than they should be

    Why: One such step can turn every weight into NaN, and a model of NaN answers with one token for ever. transformers
    hides it: by default the log shows the loss before it.

    Common causes:
        - float16 overflows in a model made for bfloat16. Solution: train in bfloat16.
        - The learning rate is too high, or there is no warm-up. Solution: lower it.
        - A row without any supervised token divides by zero. Solution: see no-supervised-tokens.

    Bad:
        ```json training_evidence.json
        {"log": {"steps_expected": 120, "steps_planned": 120, "steps_done": 120, "rows": 1280, "warmup": 0.01,
            "warmup_steps": 2, "lr_asked": 0.0001, "non_finite": {"step": 17, "what": "loss", "value": "nan",
            "steps": 104}}}
        ```
    Good:
        ```json training_evidence.json
        {"log": {"steps_expected": 120, "steps_planned": 120, "steps_done": 120, "rows": 1280, "warmup": 0.01,
            "warmup_steps": 2, "lr_asked": 0.0001}}
        ```

    Traps: an infinite gradient norm under float16 with loss scaling is skipped and repeated with a smaller scale; a
    handful at the start is how that works, which is why a few of those are a warning.

    Sources: TrainingArguments.logging_nan_inf_filter.
    """
    bad = training_log.non_finite
    if bad:
        few = bad["what"] == "grad_norm" and bad["steps"] <= FEW
        yield Finding(
            f"{bad['what']} was {bad['value']} at step {bad['step']} and {bad['steps']} of {training_log.steps_done} "
            "steps had a value that is no finite number, expected none: the weights may be NaN from there on",
            TRAINING,
            "/log/non_finite",
            Severity.WARNING if few else Severity.ERROR,
        )
