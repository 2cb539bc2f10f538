"""Scorers: what an answer is worth, in [0, 1], by its reference. Found by name through one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from modelcheck.dataset.example import Example
from modelcheck.errors import UsageError, did_you_mean
from modelcheck.finetune.scorers import grammar, lm_eval, number, pattern, python, schema, text, tool_call
from modelcheck.finetune.scorers.options import Options, Scored, Scorer

# {type: what makes the scorer of its options}; a factory takes out of `Options` what it knows.
SCORERS: Mapping[str, Callable[[Options], Scorer]] = {
    "exact": text.exact,
    "contains": text.contains,
    "choice": text.choice,
    "regex": pattern.regex,
    "numeric": number.numeric,
    "json_schema": schema.json_schema,
    "grammar": grammar.grammar,
    "python": python.python,
    "lm_eval": lm_eval.lm_eval,
    "tool_call": tool_call.tool_call,
}
Score = Callable[[str, Example], Scored]
__all__ = ["SCORERS", "Score", "Scored", "scorer"]


def scorer(settings: Mapping[str, Any], place: str = "scorer") -> Score:
    """The scorer that a job's table describes: `{type = "exact", normalize = ["strip"]}`.

    It is called with the answer, its thinking taken out, and the item that was asked. `place` begins the messages
    (file, line, suite). Raises UsageError for a type, an option or a value that is not known.
    """
    options = Options(settings, place)
    kind = options.take("type", str, "the name of a scorer")
    if kind not in SCORERS:
        _unknown(place, kind)
    inner = SCORERS[kind](options)
    options.finish()

    def score(answer: str, item: Example) -> Scored:
        given = inner(answer, item)
        scored = given if isinstance(given, Scored) else Scored(given)
        value: object = scored.value
        if not isinstance(value, int | float) or not 0 <= value <= 1:
            problem = f"the scorer {kind} gave {value!r} for the answer {answer[:60]!r}"
            raise UsageError(f"{place}: {problem}, expected a number from 0 to 1")
        return Scored(float(value), scored.metadata)

    return score


def _unknown(place: str, kind: str) -> NoReturn:
    raise UsageError(f"{place}: type is {kind!r}{did_you_mean(kind, SCORERS)}; expected {', '.join(SCORERS)}")
