"""Why a gate failed: the static finding or the audit that explains it, which comes here as data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from modelcheck.dataset.example import Example
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
# Rows that a hint names.
NAMED = 5


def what_is_left(role: str, first: float, last: float, unlikely: str = "", replayed: int = 0) -> Hint | None:
    """What may keep a suite of that role where labels, weights and files were found right, by the training loss.

    `unlikely` names the rows whose answers the tuned model still finds least likely, `replayed` is how many rows of old
    skills were among those trained on. None where a guard has none of them: that says it all.
    """
    found = (
        "the labels carry the answers (data), the saved model is the trained one (artifact), and the loss on the "
        f"training rows went from {first:.3g} to {last:.3g}"
    )
    if last > NOT_LEARNED * first:
        begin = f"read these first: {unlikely}" if unlikely else "read some training answers first"
        left = (
            "the rows were not learned, so their answers are wrong or contradict each other, or the run was too short "
            f"for them: {begin}, then train longer or at another rate"
        )
    elif role != "guard":
        left = "the rows were learned, so they teach something else than the suite asks: read a row beside a worst item"
    elif replayed:
        left = (
            f"the rows were learned, and the {replayed} that repeat old skills did not keep this one: mix in more of "
            "its own kind (data.replay), or train with a lower rate or fewer steps"
        )
    else:
        return None
    return Hint(f"{found}: {left}", "items data, artifact and train", (LEARNS,))


def least_likely(losses: Sequence[tuple[int, float]], rows: Sequence[Example]) -> str:
    """Those of the training rows, by their number from 1, whose answers have the largest loss, in words."""
    if not losses:
        return ""
    files: dict[str, list[str]] = {}
    for number, loss in sorted(losses, key=lambda pair: -pair[1])[:NAMED]:
        row = rows[number - 1]
        files.setdefault(row.source, []).append(f"{row.row} ({loss:.2g})")
    told = "; ".join(f"{file}, row {', '.join(found)}" for file, found in files.items())
    middle = median(loss for _, loss in losses)
    return f"{told}: their answers are what the tuned model finds least likely (loss; the median is {middle:.2g})"


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
