"""Rules about what a trainer really does: its labels, what learns, and its log."""

from .asked_but_frozen import asked_but_frozen
from .base_differs import base_differs
from .fewer_steps import fewer_steps
from .label_without_end import label_without_end
from .learning_rate_not_applied import learning_rate_not_applied
from .loss_rose import loss_rose
from .no_supervised_tokens import no_supervised_tokens
from .non_finite_loss import non_finite_loss
from .overfit_eval_loss import overfit_eval_loss
from .prompt_in_loss import prompt_in_loss
from .prompt_not_trained import prompt_not_trained
from .trained_but_not_asked import trained_but_not_asked
from .warmup_zero import warmup_zero

__all__ = [
    "asked_but_frozen",
    "base_differs",
    "fewer_steps",
    "label_without_end",
    "learning_rate_not_applied",
    "loss_rose",
    "no_supervised_tokens",
    "non_finite_loss",
    "overfit_eval_loss",
    "prompt_in_loss",
    "prompt_not_trained",
    "trained_but_not_asked",
    "warmup_zero",
]
