"""The histogram of the embedding's norms: a picture whose axes are both logarithmic, its words and its numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from modelcheck.facts.norm_histogram import BINS, NormHistogram

from . import page, picture

if TYPE_CHECKING:
    from markupsafe import Markup

# Rows near zero have no place on the axis; they stand left of it, in a bar so many bins wide and so many apart.
WIDE, APART = 4, 6
# The foot of a bar is half a row, so that a bar of one row can be seen.
FOOT = 0.5


@dataclass(frozen=True, slots=True)
class Bar:
    """The rows of some norms. `kind` is the CSS class: `bar`, or `marked` for those near zero."""

    kind: str
    low: float
    high: float
    rows: int
    label: str


@dataclass(frozen=True, slots=True)
class Plot:
    """Everything that the template shows; `svg` is the inside of one."""

    svg: Markup
    summary: str
    bars: tuple[Bar, ...]


def plot(histogram: NormHistogram) -> Plot:
    """The picture of a histogram."""
    bars = tuple(_bars(histogram))
    return Plot(_svg(histogram, bars), " ".join(_summary(histogram)), bars)


def _bars(histogram: NormHistogram) -> Iterator[Bar]:
    edges = histogram.edges
    if histogram.near_zero:
        low, bin_ = (edges[0], edges[1] / edges[0]) if edges else (1.0, 2.0)
        label = f"at most {number(histogram.threshold)}: near zero"
        yield Bar("marked", low * bin_ ** -(APART + WIDE), low * bin_**-APART, histogram.near_zero, label)
    for (low, high), rows in zip(pairwise(edges), histogram.counts, strict=True):
        if rows:
            yield Bar("bar", low, high, rows, f"{number(low)} to {number(high)}")


def _svg(histogram: NormHistogram, bars: Sequence[Bar]) -> Markup:
    edges, median = histogram.edges, histogram.median
    powers = [10**n for n in range(max(1, math.ceil(math.log10(max((bar.rows for bar in bars), default=1)))) + 1)]
    apart = [{"value": math.sqrt(bar.low * bar.high), "label": "near 0"} for bar in bars if bar.kind == "marked"]
    chart = picture.chart(
        "Histogram",
        logarithmic=True,
        zero=FOOT,
        range=(FOOT, powers[-1]),
        x_title="L2 norm of a row (log scale)",
        x_labels=[*edges[:: BINS // 4], *apart],
        x_value_formatter=number,
        y_title="rows (log scale)",
        y_labels=[{"value": power, "label": picture.short(power)} for power in powers],
        value_formatter="{:,g}".format,
        print_labels=True,
        print_values_position="top",
    )
    drawn: list[dict[str, Any]] = [
        {
            "value": (bar.rows, bar.low, bar.high),
            "node": {"class": bar.kind},
            "tooltip": f"{bar.label}: {page.count(bar.rows, 'row')}",
            "label": f"{bar.rows:,}" if bar.kind == "marked" else "",
        }
        for bar in bars
    ]
    if edges:
        axis = {"value": (FOOT, edges[0], edges[-1]), "node": {"class": "base", "height": 1}}
        middle = {"value": (powers[-1], median, median), "node": {"class": "median", "width": 1.5}, "label": "median"}
        drawn += [axis, middle]
    return picture.drawn(chart.add("", drawn))


def number(value: float) -> str:
    """Three digits that count."""
    return f"{value:.3g}"


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
