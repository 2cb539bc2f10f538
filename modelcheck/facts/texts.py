"""Texts that a trainer is about to encode."""

from __future__ import annotations

from modelcheck.fact import fact
from modelcheck.names import TRAINING_TEXTS

from .files import Files


@fact
def training_texts(files: Files) -> tuple[str, ...]:
    """The first texts of the training set's `text` column, which trainers such as TRL encode as they stand."""
    files.require(TRAINING_TEXTS, "no training set with a text column was passed")
    return tuple(files.json(TRAINING_TEXTS))
