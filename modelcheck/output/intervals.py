"""Estimates with their intervals on one axis, laid out for a page: places are shares of its width, in percent.

pygal does not lay these out: each row is text that wraps on a phone, over a track as wide as there is room, where its
picture would only shrink, and its axis goes in steps of 1, 2, 4 or 8, past the 0.5 and the 1 of which demands speak.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

# What is left free at the ends of an axis, as a share of its length.
MARGIN = 0.04
# Numbers on an axis, and steps from one to the next, times a power of ten.
MOST_TICKS = 6
STEPS = (1, 2, 2.5, 5, 10, 20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """What was seen, and what is asked: `value` at or above `at_least` and at or below `at_most`.

    `verdict` is the word for it, `state` what it is coloured by; `signed` numbers are differences.
    """

    name: str
    kind: str
    value: float
    lower: float
    upper: float
    at_least: float | None
    at_most: float | None
    asked: str
    verdict: str
    state: str
    signed: bool = False

    def written(self, number: float) -> str:
        """A number of this unit: a difference with its sign."""
        return f"{number:+.3f}" if self.signed else f"{number:.3f}"


@dataclass(frozen=True, slots=True)
class Axis:
    """The numbers from `low` to `high`."""

    low: float
    high: float

    def place(self, value: float) -> float:
        """Where a number lies; what lies beyond an end is drawn at it."""
        return round(100 * (min(max(value, self.low), self.high) - self.low) / (self.high - self.low), 2)

    def ticks(self) -> tuple[tuple[float, str], ...]:
        """Round numbers on the axis, each after its place."""
        span = self.high - self.low
        power = 10.0 ** math.floor(math.log10(span / MOST_TICKS))
        step = next(s for f in STEPS if span / (s := f * power) <= MOST_TICKS - 1)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        # Adding nothing makes of -0 a 0.
        numbers = [round(n * step, 10) + 0.0 for n in range(first, last + 1)]
        return tuple((self.place(number), f"{number:g}") for number in numbers)


@dataclass(frozen=True, slots=True)
class Row:
    """An interval and its places; None where it has no end. `allowed` is where what is asked holds."""

    interval: Interval
    point: float | None
    ends: tuple[float, float] | None
    allowed: tuple[float, float]
    limits: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Intervals:
    """Rows on one axis. `origin` is the place of "nothing changed", where the axis has one."""

    rows: tuple[Row, ...]
    ticks: tuple[tuple[float, str], ...]
    origin: float | None


def intervals(
    found: Sequence[Interval], *, whole: tuple[float, float] | None = None, origin: float | None = None
) -> Intervals:
    """The layout of intervals of one unit. The axis is the `whole`, or as long as what is on it."""
    axis = Axis(*(whole or _reach(found, origin)))
    return Intervals(
        tuple(_row(interval, axis) for interval in found),
        axis.ticks(),
        None if origin is None else axis.place(origin),
    )


def _reach(found: Sequence[Interval], origin: float | None) -> tuple[float, float]:
    numbers = [n for i in found for n in (i.value, i.lower, i.upper, i.at_least, i.at_most)]
    seen = [n for n in (*numbers, origin) if n is not None and math.isfinite(n)]
    low, high = min(seen), max(seen)
    free = MARGIN * (high - low) or 0.5
    return low - free, high + free


def _row(interval: Interval, axis: Axis) -> Row:
    low, high = interval.at_least, interval.at_most
    left = 0.0 if low is None else axis.place(low)
    right = 100.0 if high is None else axis.place(high)
    bounded = math.isfinite(interval.lower) and math.isfinite(interval.upper)
    return Row(
        interval,
        axis.place(interval.value) if math.isfinite(interval.value) else None,
        (axis.place(interval.lower), axis.place(interval.upper)) if bounded else None,
        (left, round(right - left, 2)),
        tuple(axis.place(limit) for limit in (low, high) if limit is not None),
    )
