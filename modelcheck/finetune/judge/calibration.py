"""Whether a judge agrees with people: rows that somebody has judged are put to it, once, as any others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelcheck.dataset.columns import BadValue, as_text, column
from modelcheck.dataset.example import BadRow, Example
from modelcheck.dataset.forms import criteria_of
from modelcheck.dataset.read import open_file
from modelcheck.errors import UsageError
from modelcheck.finetune.judge.judge import Judge
from modelcheck.finetune.judge.reply import word
from modelcheck.finetune.scorers.options import Scored
from modelcheck.finetune.stats import wilson

SHOWN = 10
EXPECTED = "expected question, answer and verdict (a person's), and criteria and reference where the items have them"


@dataclass(frozen=True, slots=True)
class Gold:
    """An answer and the verdict of a person on it."""

    item: Example
    answer: str
    verdict: str


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often judge and person agree on `rows` answers; Cohen's `kappa` leaves out what chance alone would give.

    It is None where chance explains everything: all verdicts are one word. `disagreements` are sentences.
    """

    rows: int
    agreed: int
    kappa: float | None
    disagreements: tuple[str, ...]

    @property
    def rate(self) -> float:
        """The share of rows on which they agree."""
        return self.agreed / self.rows

    def __str__(self) -> str:
        low, high = wilson(self.rate, self.rows, 0.05)
        kappa = "not defined, all verdicts are one word" if self.kappa is None else f"{self.kappa:.2f}"
        seen = f"{self.agreed} of {self.rows} verdicts are those of people"
        return f"{seen} ({self.rate:.2f}, 90 % interval {low:.2f} to {high:.2f}; Cohen's kappa {kappa})"


def agreement(judge: Judge, path: Path) -> Agreement:
    """The judge's verdicts against those of a file. Raises UsageError for rows that cannot be used."""
    gold = read(path, judge.settings.grades)
    scored = judge.scores([(row.answer, row.item) for row in gold])
    given = [decided(score.metadata["verdicts"], judge.settings.grades) for score in scored]
    return Agreement(
        rows=len(gold),
        agreed=sum(row.verdict == verdict for row, verdict in zip(gold, given, strict=True)),
        kappa=kappa([row.verdict for row in gold], given),
        disagreements=tuple(_disagreements(gold, given, scored)),
    )


def read(path: Path, grades: Mapping[str, float]) -> list[Gold]:
    """The rows of a calibration set. Raises UsageError with those that are wrong, by file and row."""
    rows = open_file(path)
    found = [row if isinstance(row, BadRow) else _gold(row, number, str(path), grades) for number, row in rows]
    bad = [str(row) for row in found if isinstance(row, BadRow)]
    if bad or not found:
        raise UsageError("\n".join(bad[:SHOWN]) or f"{path}: holds no row")
    return [row for row in found if isinstance(row, Gold)]


def decided(votes: Sequence[str | None], grades: Mapping[str, float]) -> str | None:
    """The verdict that most votes give; None where they are tied, or none could be read.

    Without votes the answer was empty, and nobody was asked: that is worth the worst.
    """
    if not votes:
        return min(grades, key=grades.__getitem__)
    counts = Counter(vote for vote in votes if vote is not None)
    most = [word for word, count in counts.items() if count == max(counts.values())]
    return most[0] if len(most) == 1 else None


def kappa(first: Sequence[str], second: Sequence[str | None]) -> float | None:
    """Cohen's kappa of two raters, None where both always say the same one word."""
    n = len(first)
    seen = sum(a == b for a, b in zip(first, second, strict=True)) / n
    chance = sum(first.count(word) * second.count(word) for word in set(first)) / n**2
    return (seen - chance) / (1 - chance) if chance < 1 else None


def _gold(row: Mapping[str, Any], number: int, source: str, grades: Mapping[str, float]) -> Gold | BadRow:
    try:
        question, answer = (as_text(column(name, row), name) for name in ("question", "answer"))
        verdict = word(column("verdict", row), grades)
        criteria = criteria_of(row["criteria"]) if row.get("criteria") is not None else None
    except BadValue as problem:
        return BadRow(number, source, f"{problem}; {EXPECTED}")
    if verdict not in grades:
        return BadRow(number, source, f"the verdict is {row['verdict']!r}, expected one of {', '.join(grades)}")
    asked = ({"role": "user", "content": question},)
    return Gold(Example(asked, number, source, row.get("reference"), criteria=criteria), answer, str(verdict))


def _disagreements(gold: Sequence[Gold], given: Sequence[str | None], scored: Sequence[Scored]) -> Iterator[str]:
    for row, verdict, score in zip(gold, given, scored, strict=True):
        if row.verdict != verdict:
            reason = score.metadata["reason"]
            says = "does not decide" if verdict is None else f"says {verdict}"
            yield f"{row.item.place}: a person says {row.verdict}, the judge {says}" + (f": {reason}" if reason else "")
