"""What a training set-up teaches, apart from what it repeats against forgetting."""

from __future__ import annotations

from dataclasses import dataclass

from modelcheck.fact import NotApplicable, fact

from .dataset import Dataset, Split


@dataclass(frozen=True, slots=True)
class Skill:
    """The rows that teach something new, and those that ask for it."""

    taught: Split
    asked: Split


@fact
def skill(dataset: Dataset) -> Skill:
    """Training and evaluation rows; a job, which knows more, leaves out what is replayed and what guards ask."""
    if dataset.train is None or dataset.eval is None:
        raise NotApplicable("there are no rows of both training and evaluation")
    return Skill(dataset.train, dataset.eval)
