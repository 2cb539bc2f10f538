"""What log.jsonl says about a run: a pure function of its lines."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from statistics import fmean, median
from typing import Any

from .job import Schedule
from .schedule import factor

# A rate that is off by less is a rounding of floats.
CLOSE = 1e-6


def log_evidence(lines: Iterable[str]) -> dict[str, Any]:
    """The `log` part of the training evidence, as modelcheck/facts/training.py describes it.

    A line is `{"asked": {...}}`, `{"step", "loss", "grad_norm", "lr"}` or `{"step", "eval_loss"}`; of two for one step
    the later counts, as a resumed run leaves them. A last line that was cut off is left out.
    """
    asked: dict[str, Any] = {}
    steps: dict[int, Mapping[str, Any]] = {}
    evaluations: dict[int, float] = {}
    for line in map(parsed, lines):
        if "asked" in line:
            asked = line["asked"]
        elif "eval_loss" in line:
            evaluations[line["step"]] = line["eval_loss"]
        elif "step" in line:
            steps[line["step"]] = line
    return {
        "steps_expected": asked.get("steps_expected"),
        "steps_planned": asked.get("steps"),
        "steps_done": max(steps, default=0),
        "rows": asked.get("rows"),
        "warmup": asked.get("schedule", {}).get("warmup"),
        "warmup_steps": sum(1 for step in steps.values() if _rising(step, asked)),
        "non_finite": _non_finite(steps),
        "lr_asked": asked.get("lr"),
        "lr_wrong": _wrong_rate(steps, asked),
        "last_loss": steps[max(steps)]["loss"] if steps and math.isfinite(steps[max(steps)]["loss"]) else None,
        "evaluations": _evaluations(evaluations),
        "loss": _ends(steps),
    }


def parsed(line: str) -> Mapping[str, Any]:
    """A line of log.jsonl; nothing where it was cut off."""
    try:
        parsed = json.loads(line)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _rising(step: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    """Whether a step was taken at less than the full rate before the full rate was first reached."""
    return (
        bool(step["lr"]) and step["step"] <= asked.get("warmup_steps", 0) and step["lr"][0] < asked["lr"] * (1 - CLOSE)
    )


def _non_finite(steps: Mapping[int, Mapping[str, Any]]) -> dict[str, Any] | None:
    """The first step whose loss or gradient norm is no number, and how many there are."""
    found = [
        (number, name)
        for number, step in sorted(steps.items())
        for name in ("loss", "grad_norm")
        if step.get(name) is not None and not math.isfinite(step[name])
    ]
    if not found:
        return None
    number, name = found[0]
    return {"step": number, "what": name, "value": str(steps[number][name]), "steps": len({step for step, _ in found})}


def _wrong_rate(steps: Mapping[int, Mapping[str, Any]], asked: Mapping[str, Any]) -> dict[str, Any] | None:
    """The step at which the rate that the optimizer used is furthest from the one asked for, and how many are off."""
    if not asked or not steps:
        return None
    schedule = Schedule(**asked["schedule"])
    off = []
    for number, step in sorted(steps.items()):
        wanted = asked["lr"] * factor(schedule, number - 1, asked["steps"])
        used = step["lr"][0] if step["lr"] else 0.0
        if abs(used - wanted) > CLOSE * asked["lr"]:
            off.append((abs(used - wanted), number, wanted, used))
    if not off:
        return None
    _, number, wanted, used = max(off)
    return {"step": number, "asked": wanted, "used": used, "steps": len(off)}


def _ends(steps: Mapping[int, Mapping[str, Any]]) -> dict[str, float] | None:
    """The loss of the first steps, before much was learned, and of the last tenth; None with fewer than ten steps."""
    losses = [steps[step]["loss"] for step in sorted(steps)]
    if len(losses) < 10 or not all(map(math.isfinite, losses)):
        return None
    return {"first": median(losses[:3]), "last": fmean(losses[-max(3, len(losses) // 10) :])}


def _evaluations(losses: Mapping[int, float]) -> dict[str, Any] | None:
    """The evaluation loss at its best and at the end; None with fewer than three evaluations."""
    finite = {step: loss for step, loss in losses.items() if math.isfinite(loss)}
    if len(finite) < 3:
        return None
    best, last = min(finite, key=lambda step: (finite[step], step)), max(finite)
    return {
        "count": len(finite),
        "best_step": best,
        "best_loss": finite[best],
        "last_step": last,
        "last_loss": finite[last],
    }
