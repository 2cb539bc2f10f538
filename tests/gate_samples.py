"""Runs for tests of the gate: samples from a list of scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modelcheck.finetune.samples import Sample


def run(*repeats: Sequence[float], answers: Sequence[str] = (), **fields: Any) -> list[Sample]:
    """A run of as many items as there are scores, one list a repeat. Fields that are lists hold one value an item."""
    return [
        Sample(
            item=f"item-{i:04}",
            repeat=repeat,
            answer=answers[i] if answers else f"answer {i} of repeat {repeat}",
            score=score,
            **{name: value[i] if isinstance(value, list) else value for name, value in fields.items()},
        )
        for repeat, scores in enumerate(repeats)
        for i, score in enumerate(scores)
    ]


def right(count: int, of: int = 100) -> list[float]:
    """Scores of which the first `count` are 1 and the rest 0."""
    return [1.0] * count + [0.0] * (of - count)
