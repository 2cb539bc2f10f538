"""The learning rate over a run: one definition, for the trainer that applies it and the audit that holds it to it."""

from __future__ import annotations

import math

from .job import Schedule

TYPES = ("constant_then_linear", "constant", "linear", "cosine")


def warmup_steps(schedule: Schedule, total: int) -> int:
    """Steps of warm-up: the share asked for, rounded up, so that a short run has one too."""
    return math.ceil(schedule.warmup * total) if total else 0


def factor(schedule: Schedule, step: int, total: int) -> float:
    """What the learning rate is multiplied by at a step (from 0) of `total`.

    After the warm-up, `constant_then_linear` holds 1 until the last `anneal_last` of the steps and then falls in a
    straight line to 0, as `linear` does from the start; `cosine` falls as half a cosine.
    """
    warmup = warmup_steps(schedule, total)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    start = {"constant": total, "constant_then_linear": max(warmup, total - round(schedule.anneal_last * total))}.get(
        schedule.type, warmup
    )
    progress = (step - start) / max(1, total - start)
    if progress <= 0:
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * progress)) if schedule.type == "cosine" else max(0.0, 1 - progress)
