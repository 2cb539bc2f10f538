"""Numbers over the steps of a run, as a picture and for a table beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from . import picture

if TYPE_CHECKING:
    from markupsafe import Markup

# More points than this cannot be told apart: neighbours are drawn as their mean.
MOST_POINTS = 200
# Dashes that can be told apart.
KINDS = 4
# Rows of the table, spread over the run.
MOST_ROWS = 12


@dataclass(frozen=True, slots=True)
class Series:
    """A number that was written down at some steps; `sparse` are few points, drawn as such."""

    name: str
    values: Mapping[int, float]
    sparse: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """A series as it is drawn: `look` are its CSS classes, `odd` the steps at which the number was none."""

    series: Series
    look: str
    odd: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Curves:
    """Everything that the template shows: the inside of an SVG, and what is listed.

    `together` steps are drawn as one point.
    """

    svg: Markup
    lines: tuple[Line, ...]
    together: int
    table: tuple[tuple[int, tuple[float | None, ...]], ...]


def curves(found: Sequence[Series]) -> Curves | None:
    """The picture of some series; None where none of them holds a number."""
    finite = [_finite(series) for series in found]
    steps = [step for values in finite for step in values]
    if not steps:
        return None
    together = max(1, *(-(-len(series.values) // MOST_POINTS) for series in found))
    lines = tuple(
        Line(series, look, tuple(sorted(series.values.keys() - values.keys())))
        for series, look, values in zip(found, _looks(found), finite, strict=True)
    )
    return Curves(_svg(lines, finite, max(steps), together), lines, together, _table(found))


def _svg(lines: Sequence[Line], finite: Sequence[Mapping[int, float]], last: int, together: int) -> Markup:
    axes = {"xrange": (0, last), "x_title": "step", "y_title": "loss", "include_x_axis": True, "max_scale": 6}
    chart = picture.chart("XY", **axes, dots_size=4)
    for line, values in zip(lines, finite, strict=True):
        sparse = line.series.sparse
        chart.add("", _points(values, 1 if sparse else together), show_dots=sparse)
    return picture.drawn(chart, [line.look for line in lines])


def _finite(series: Series) -> dict[int, float]:
    return {step: value for step, value in sorted(series.values.items()) if math.isfinite(value)}


def _looks(found: Sequence[Series]) -> list[str]:
    """Those of one sort differ by their dashes."""
    kinds = [sum(one.sparse == series.sparse for one in found[:i]) % KINDS for i, series in enumerate(found)]
    return [f"curve {'sparse ' * s.sparse}dash-{kind}" for s, kind in zip(found, kinds, strict=True)]


def _points(values: Mapping[int, float], together: int) -> list[tuple[int, float]]:
    known = list(values.items())
    groups = [known[i : i + together] for i in range(0, len(known), together)]
    return [(group[-1][0], fmean(value for _, value in group)) for group in groups]


def _table(found: Sequence[Series]) -> tuple[tuple[int, tuple[float | None, ...]], ...]:
    """Some steps with what every series has there, and all steps of which sparse series speak."""
    dense = sorted({step for series in found if not series.sparse for step in series.values})
    spread = {dense[round(i * (len(dense) - 1) / (MOST_ROWS - 1))] for i in range(MOST_ROWS)} if dense else set()
    sparse = sorted({step for series in found if series.sparse for step in series.values})
    shown = sorted(spread | set(sparse[:: -(-len(sparse) // MOST_ROWS) or 1]) | set(sparse[-1:]))
    return tuple((step, tuple(series.values.get(step) for series in found)) for step in shown)
