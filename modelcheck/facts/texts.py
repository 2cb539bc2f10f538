"""Texts that a trainer is about to encode."""

from __future__ import annotations

from modelcheck.fact import fact

from .files import Files

# The source of live objects writes the first rows of the training set's `text` column there.
SAMPLE = "train_dataset.text.json"


@fact
def training_texts(files: Files) -> tuple[str, ...]:
    """The first texts of the training set's `text` column, which trainers such as TRL encode as they stand."""
    files.require(SAMPLE, "no training set with a text column was passed")
    return tuple(files.json(SAMPLE))
