"""gate.json: the gate's results for other programs. `schema` counts its form, and a change of meaning changes it."""

from __future__ import annotations

import json
import math
from typing import Any

from modelcheck import __version__
from modelcheck.finetune.gate import regressed
from modelcheck.finetune.hints import explaining
from modelcheck.finetune.messages import message
from modelcheck.finetune.pairing import Item
from modelcheck.finetune.report import GateReport, expected
from modelcheck.finetune.verdict import Pairs, Result, consequence

SCHEMA = 1


def render(report: GateReport) -> str:
    """One JSON document. Numbers that JSON cannot write, such as the error of a single item, are null."""
    before_and_after = [result for result in report.results if result.role != "arm"]
    explained = explaining(report.results, report.hints)
    document = {
        "schema": SCHEMA,
        "modelcheck": __version__,
        "job": report.job,
        "consequence": report.consequence,
        "alpha": report.policy.alpha,
        "power": report.policy.power,
        "results": [_result(result, report) for result in report.results],
        "regressed": [result.suite for result in regressed(before_and_after, report.policy.alpha)],
        "hints": [
            {"message": h.message, "source": h.source, "symptoms": list(h.symptoms), "explains": h in explained}
            for h in report.hints
        ],
    }
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def _result(result: Result, report: GateReport) -> dict[str, Any]:
    numbers = ("base", "tuned", "value", "lower", "upper", "at_least", "at_most", "alpha", "mde")
    return {
        "suite": result.suite,
        "metric": result.metric,
        "role": result.role,
        "primary": result.primary,
        "items": result.items,
        "clusters": result.clusters,
        "repeats": result.repeats,
        **{name: _finite(getattr(result, name)) for name in numbers},
        "verdict": result.verdict,
        "consequence": consequence(result, report.policy),
        "needed": None if result.needed is None else result.needed.items,
        "needed_if": None if result.needed is None else result.needed.assumption,
        "message": message(result, report.hints),
        "lost": list(result.lost),
        "notes": list(result.notes),
        "slices": {name: {"base": b, "tuned": t, "items": n} for name, (b, t, n) in result.slices.items()},
        "worst": [_item(item) for item in result.worst],
        "pairs": None if result.pairs is None else _pairs(result.pairs),
    }


def _pairs(pairs: Pairs) -> dict[str, Any]:
    names = ("wins", "losses", "mcnemar", "between", "within", "p_regressed", "power", "starts_right")
    return {
        **{name: getattr(pairs, name) for name in names},
        "runs": list(pairs.runs),
    }


def _item(item: Item) -> dict[str, Any]:
    return {
        "item": item.first.item,
        "prompt": item.first.prompt,
        "reference": expected(item),
        "difference": item.difference,
        "base": [{"answer": s.answer, "score": s.score, "stopped": s.stopped} for s in item.base],
        "tuned": [[{"answer": s.answer, "score": s.score, "stopped": s.stopped} for s in run] for run in item.tuned],
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
