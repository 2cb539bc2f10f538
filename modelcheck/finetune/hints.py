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


# A loss above this part of what it began with says that the rows themselves were not learned.
NOT_LEARNED = 0.2


def what_is_left(first: float, last: float) -> Hint:
    """What may keep a target from its gain where labels, weights and files were found right, by the training loss."""
    found = (
        "the labels carry the answers (data), the saved model is the trained one (artifact), and the loss on the "
        f"training rows went from {first:.3g} to {last:.3g}"
    )
    if last > NOT_LEARNED * first:
        left = (
            "the rows were not learned, so their answers are wrong or contradict each other, or the run was too short "
            "for them: read some training answers first, then train longer or at another rate"
        )
    else:
        left = "the rows were learned, so they teach something else than the suite asks: read a row beside a worst item"
    return Hint(f"{found}: {left}", "items data, artifact and train", (LEARNS,))


def symptoms(result: Result) -> frozenset[str]:
    """What a failed result is a sign of. Neither overfitting nor a better arm is the fault of a file."""
    if result.verdict is not Verdict.FAIL or result.role in ("overfit", "arm"):
        return frozenset()
    return frozenset((STOPS, TEXT) if result.role == "behaviour" else (STOPS, TEXT, GARBAGE, LEARNS))


def unexplained(result: Result) -> bool:
    """Whether a result wants an explanation, so that a report says when there is none."""
    return result.verdict is Verdict.FAIL and result.role != "arm"


def explaining(results: Sequence[Result], hints: Iterable[Hint]) -> list[Hint]:
    """The hints that explain a failed result, those that explain most of them first."""
    failed = [symptoms(result) for result in results]
    explained = {hint: sum(bool(signs.intersection(hint.symptoms)) for signs in failed) for hint in hints}
    return sorted((hint for hint, count in explained.items() if count), key=lambda hint: -explained[hint])
