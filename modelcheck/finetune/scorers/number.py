"""The scorer for numbers."""

from __future__ import annotations

import math
import re

from modelcheck.dataset.example import Example
from modelcheck.errors import UsageError
from modelcheck.finetune.scorers.options import Options, Scorer

# A sign right behind a word or a number is a hyphen.
NUMBER = re.compile(r"(?:(?<![\w)])[-+\u2212])?(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?")


def numeric(options: Options) -> Scorer:
    """1 where the last number in the answer is the reference within `rtol` times it plus `atol` (default: both 0).

    Thousands may be parted by commas; what is no number at all scores 0.
    """
    rtol = options.take("rtol", float, "a number from 0", 0.0)
    atol = options.take("atol", float, "a number from 0", 0.0)
    for name, value in (("rtol", rtol), ("atol", atol)):
        if not (value >= 0 and math.isfinite(value)):
            options.refuse(name, "a number from 0")

    def score(answer: str, item: Example) -> float:
        wanted = last_number(str(item.reference))
        if wanted is None:
            raise UsageError(f"{options.place}: the reference {item.reference!r} is no number")
        found = last_number(answer)
        return float(found is not None and abs(found - wanted) <= rtol * abs(wanted) + atol)

    return score


def last_number(text: str) -> float | None:
    """The last number that is written in a text."""
    found = NUMBER.findall(text)
    return float(found[-1].replace(",", "").replace("\u2212", "-")) if found else None
