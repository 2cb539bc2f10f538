"""The scorer for numbers."""

from __future__ import annotations

import math
import re

from modelcheck.dataset.example import Example
from modelcheck.errors import UsageError
from modelcheck.finetune.scorers.options import Options, Scorer
from modelcheck.finetune.scorers.text import references

SPACE = " \u00a0\u2009\u202f"
NUMBER = re.compile(
    # A sign right behind a word or a number is a hyphen; one of a sum of money may stand before the currency.
    r"(?:(?<![\w)])[-+\u2212][$€£¥₹]?)?"
    # Thousands are parted by commas, or by spaces; more numbers around those are a list.
    rf"(?:(?:\d{{1,3}}(?:,\d{{3}})+|(?<!\d[{SPACE}])[1-9]\d{{0,2}}([{SPACE}])\d{{3}}(?:\1\d{{3}})*(?![{SPACE}]?\d)|\d+)"
    r"(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?"
)
NO_PART = re.compile(f"[,$€£¥₹{SPACE}]")
# What GSM8K writes between the reasoning of a reference and its result.
RESULT = "####"


def numeric(options: Options) -> Scorer:
    """1 where the last number in the answer is the reference within `rtol` times it plus `atol` (default: both 0).

    The reference is one number, whatever words, currency or unit stand around it, a text with one behind `####`, or a
    list of these, any of which is right. Thousands may be parted by commas or spaces; an answer without a number
    scores 0.
    """
    rtol = options.take("rtol", float, "a number from 0", 0.0)
    atol = options.take("atol", float, "a number from 0", 0.0)
    for name, value in (("rtol", rtol), ("atol", atol)):
        if not (value >= 0 and math.isfinite(value)):
            options.refuse(name, "a number from 0")

    def score(answer: str, item: Example) -> float:
        wanted = [_single(text, options.place, item) for text in references(item.reference)]
        found = numbers(answer)
        return float(any(abs(found[-1] - one) <= rtol * abs(one) + atol for one in wanted) if found else 0)

    return score


def numbers(text: str) -> list[float]:
    """The numbers that are written in a text, in order."""
    return [float(NO_PART.sub("", found[0]).replace("\u2212", "-")) for found in NUMBER.finditer(text)]


def _single(reference: str, place: str, item: Example) -> float:
    found = numbers(reference.rpartition(RESULT)[2])
    if len(found) != 1:
        raise UsageError(
            f"{place}: the reference {reference[:60]!r} of {item.place} is no number, expected exactly one, as in 42, "
            "'$1,234.50', '50%' or '#### 42': answers would be held to a piece of it; name a column that holds the "
            "result with columns.reference, or compare texts with the scorer exact or contains"
        )
    return found[0]
