"""Scorers: what an answer is worth, in [0, 1], by its reference. Found by name through one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from modelcheck.dataset.example import Example
from modelcheck.errors import UsageError, did_you_mean
from modelcheck.finetune.scorers import grammar, judge, lm_eval, number, pattern, python, schema, text, tool_call
from modelcheck.finetune.scorers.options import InLots, Options, Scored, Scorer

# {type: what makes the scorer of its options}; a factory takes out of `Options` what it knows.
SCORERS: Mapping[str, Callable[[Options], Scorer | InLots]] = {
    "exact": text.exact,
    "contains": text.contains,
    "choice": text.choice,
    "regex": pattern.regex,
    "numeric": number.numeric,
    "json_schema": schema.json_schema,
    "grammar": grammar.grammar,
    "python": python.python,
    "judge": judge.judge,
    "lm_eval": lm_eval.lm_eval,
    "tool_call": tool_call.tool_call,
}
# Counted up when a scorer comes to score some answer otherwise: what it scored before is not comparable, and not used.
REVISIONS: Mapping[str, int] = {"json_schema": 2, "numeric": 2, "tool_call": 2}
# Those that hold every answer against the reference; to the others a row without one may say enough.
COMPARING = frozenset({"exact", "contains", "choice", "numeric"})
__all__ = ["COMPARING", "SCORERS", "Score", "Scored", "scorer"]


@dataclass(frozen=True, slots=True)
class Score:
    """A scorer that is ready. `many` scores (answer, item) pairs in order, best about `lot` of them at once.

    `decides` is what of its settings decides a score: two runs that differ in it are not comparable. Nor are two whose
    rows differ in any column where it `reads_rows`.
    """

    many: Callable[[Sequence[tuple[str, Example]]], list[Scored]]
    lot: int
    decides: Mapping[str, Any]
    reads_rows: bool = False

    def __call__(self, answer: str, item: Example) -> Scored:
        """What one answer is worth."""
        return self.many([(answer, item)])[0]


def scorer(settings: Mapping[str, Any], place: str = "scorer", cache: Path | None = None) -> Score:
    """The scorer that a job's table describes: `{type = "exact", normalize = ["strip"]}`.

    It is given answers, their thinking taken out, and the items that were asked. `place` begins the messages (file,
    line, suite); a judge keeps its verdicts in the folder `cache`. Raises UsageError for a type, an option or a value
    that is not known.
    """
    options = Options(settings, place, cache)
    kind = options.take("type", str, "the name of a scorer")
    if kind not in SCORERS:
        _unknown(place, kind)
    inner = SCORERS[kind](options)
    options.finish()
    if isinstance(inner, InLots):
        return Score(inner.scores, inner.lot, {"type": kind, **inner.decides})

    def many(pairs: Sequence[tuple[str, Example]]) -> list[Scored]:
        return [_checked(inner(answer, item), answer, f"{place}: the scorer {kind}") for answer, item in pairs]

    decides = {
        **settings,
        **({"contents": options.contents} if options.contents else {}),
        **({"revision": REVISIONS[kind]} if kind in REVISIONS else {}),
    }
    return Score(many, 1, decides, options.reads_rows)


def _checked(given: float | Scored, answer: str, who: str) -> Scored:
    scored = given if isinstance(given, Scored) else Scored(given)
    value: object = scored.value
    if not isinstance(value, int | float) or not 0 <= value <= 1:
        raise UsageError(f"{who} gave {value!r} for the answer {answer[:60]!r}, expected a number from 0 to 1")
    return Scored(float(value), scored.metadata)


def _unknown(place: str, kind: str) -> NoReturn:
    raise UsageError(f"{place}: type is {kind!r}{did_you_mean(kind, SCORERS)}; expected {', '.join(SCORERS)}")
