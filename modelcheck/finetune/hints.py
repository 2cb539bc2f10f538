"""Why a gate failed: the static finding or the audit that explains it, which comes here as data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from modelcheck.finetune.verdict import Result, Verdict
from modelcheck.manual import SYMPTOMS

STOPS, GARBAGE, LEARNS, TEXT, *_ = SYMPTOMS


@dataclass(frozen=True, slots=True)
class Hint:
    """A finding of a rule or an audit. `source` says whose (`DAT001 no-eos-label, item data`), `symptoms` what it does.

    Symptoms are words of `modelcheck.manual.SYMPTOMS`, which every rule names in its manual.
    """

    message: str
    source: str
    symptoms: tuple[str, ...]


def symptoms(result: Result) -> frozenset[str]:
    """What a failed result is a sign of. Overfitting is no fault of a file."""
    if result.verdict is not Verdict.FAIL or result.role == "overfit":
        return frozenset()
    return frozenset((STOPS, TEXT) if result.role == "behaviour" else (STOPS, TEXT, GARBAGE, LEARNS))


def explaining(results: Sequence[Result], hints: Iterable[Hint]) -> list[Hint]:
    """The hints that explain a failed result, those that explain most of them first."""
    failed = [symptoms(result) for result in results]
    explained = {hint: sum(bool(signs.intersection(hint.symptoms)) for signs in failed) for hint in hints}
    return sorted((hint for hint, count in explained.items() if count), key=lambda hint: -explained[hint])
