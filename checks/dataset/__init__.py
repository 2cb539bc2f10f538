"""Rules on the rows of a training set-up."""

from .answer_cut import answer_cut
from .bad_row import bad_row
from .columns_swapped import columns_swapped
from .control_token_in_row import control_token_in_row
from .empty_answer import empty_answer
from .eval_overlaps_train import eval_overlaps_train
from .eval_row_in_train import eval_row_in_train
from .few_rows import few_rows
from .no_answer import no_answer
from .row_not_rendered import row_not_rendered
from .system_prompt_drift import system_prompt_drift
from .unknown_role import unknown_role
from .untrained_token_in_row import untrained_token_in_row

__all__ = [
    "answer_cut",
    "bad_row",
    "columns_swapped",
    "control_token_in_row",
    "empty_answer",
    "eval_overlaps_train",
    "eval_row_in_train",
    "few_rows",
    "no_answer",
    "row_not_rendered",
    "system_prompt_drift",
    "unknown_role",
    "untrained_token_in_row",
]
