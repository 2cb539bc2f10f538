"""The histogram of the embedding's norms, laid out for an SVG: both axes are logarithmic."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from modelcheck.facts.norm_histogram import NormHistogram

from .axis import Tick

# The picture, in units of the SVG, and the frame in which bars stand.
WIDTH, HEIGHT = 480, 280
LEFT, RIGHT, TOP, BOTTOM = 58, 466, 30, 224
# Rows near zero have no place on the axis; they stand left of it, in a bar of their own.
APART, GAP = 34, 30
# The foot of a bar is half a row, so that a bar of one row can be seen.
FOOT = 0.5
MOST_TICKS = 6
POWERS = ("", "k", "M", "G")
STEPS = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7), (1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9))


@dataclass(frozen=True, slots=True)
class Bar:
    """A rectangle, and what it stands for in words."""

    x: float
    y: float
    width: float
    height: float
    label: str
    rows: int


@dataclass(frozen=True, slots=True)
class Plot:
    """Everything that the template draws. `near_zero` is the bar apart, `median` where the median lies."""

    histogram: NormHistogram
    bars: tuple[Bar, ...]
    near_zero: Bar | None
    median: float | None
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    start: float
    summary: str


def plot(histogram: NormHistogram) -> Plot:
    """The layout of a histogram."""
    start = LEFT + 8 + (APART + GAP if histogram.near_zero else 0)
    top = 10 ** max(1, math.ceil(math.log10(max(1, histogram.near_zero, *histogram.counts))))

    def across(norm: float) -> float:
        low, high = histogram.edges[0], histogram.edges[-1]
        return round(start + (RIGHT - start) * math.log(norm / low) / math.log(high / low), 1)

    def up(rows: float) -> float:
        return round(BOTTOM - (BOTTOM - TOP) * math.log(rows / FOOT) / math.log(top / FOOT), 1)

    def bar(left: float, right: float, rows: int, label: str) -> Bar:
        return Bar(left, up(rows), round(right - left, 1), round(BOTTOM - up(rows), 1), label, rows)

    apart = f"at most {number(histogram.threshold)}: near zero"
    return Plot(
        histogram,
        bars=tuple(
            bar(across(low), across(high), rows, f"{number(low)} to {number(high)}")
            for (low, high), rows in zip(pairwise(histogram.edges), histogram.counts, strict=True)
            if rows
        ),
        near_zero=bar(LEFT + 8, LEFT + 8 + APART, histogram.near_zero, apart) if histogram.near_zero else None,
        median=across(histogram.median) if histogram.edges else None,
        across=tuple(Tick(across(value), number(value)) for value in _ticks(histogram.edges)),
        up=tuple(
            Tick(up(10**power), f"{10 ** (power % 3)}{POWERS[power // 3]}")
            for power in range(round(math.log10(top)) + 1)
        ),
        start=start,
        summary=" ".join(_summary(histogram)),
    )


def number(value: float) -> str:
    """Three digits that count."""
    return f"{value:.3g}"


def _ticks(edges: Sequence[float]) -> list[float]:
    """Round numbers between the edges: of the coarsest kind that gives three, and never many."""
    if not edges:
        return []
    low, high = edges[0], edges[-1]
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for steps in STEPS:
        found = [v for power in powers for step in steps if low <= (v := float(f"{step}e{power}")) <= high]
        if len(found) >= 3:
            break
    if len(found) < 2:  # all norms are nearly the same
        return [low, high]
    return found[:: -(-len(found) // MOST_TICKS)]


def _summary(histogram: NormHistogram) -> Iterator[str]:
    of = "" if histogram.read == histogram.rows else f" of {histogram.rows:,}"
    yield f"{histogram.read:,}{of} rows of {histogram.tensor} were read."
    if histogram.edges:
        low, high = histogram.edges[0], histogram.edges[-1]
        yield f"Their median norm is {number(histogram.median)};"
        yield f"{sum(histogram.counts):,} lie between {number(low)} and {number(high)}."
    near = f"near zero (a thousandth of the median, {number(histogram.threshold)}, or less)"
    if histogram.near_zero:
        many = "is {} and was" if histogram.near_zero == 1 else "are {} and were"
        yield f"{histogram.near_zero:,} {many.format(near)} never trained."
    else:
        yield f"None is {near}."
    if histogram.not_finite:
        hold = "holds a NaN or an infinity and is" if histogram.not_finite == 1 else "hold a NaN or an infinity and are"
        yield f"{histogram.not_finite:,} {hold} not drawn."
