"""Texts that a trainer is about to encode."""

from __future__ import annotations

from modelcheck.fact import fact

from .dataset import Dataset


@fact
def training_texts(dataset: Dataset) -> tuple[str, ...]:
    """The rows of the training set that are texts, which trainers such as TRL encode as they stand."""
    rows = dataset.train.examples if dataset.train else ()
    return tuple(row.text for row in rows if row.text is not None)
