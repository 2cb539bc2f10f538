"""Numbers over the steps of a run, laid out for an SVG and for a table beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from .axis import Axis, Tick

# The picture, in units of the SVG, and the frame in which the lines run.
WIDTH, HEIGHT = 480, 280
LEFT, RIGHT, TOP, BOTTOM = 46, 466, 30, 224
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
    """A series as it is drawn: an SVG path, and the points of a sparse one.

    `kind` tells lines of one sort apart, 0 to 3; `odd` are the steps at which the number was none.
    """

    series: Series
    kind: int
    path: str
    points: tuple[tuple[float, float], ...]
    odd: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Curves:
    """Everything that the template draws and lists. `together` steps are drawn as one point."""

    lines: tuple[Line, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    together: int
    table: tuple[tuple[int, tuple[float | None, ...]], ...]


def curves(found: Sequence[Series]) -> Curves | None:
    """The layout of some series; None where none of them holds a number."""
    finite = [_finite(series) for series in found]
    steps = [step for values in finite for step in values]
    if not steps:
        return None
    top = max(value for values in finite for value in values.values())
    across = Axis(0, max(steps), LEFT + 8, RIGHT)
    up = Axis(min(0.0, *(min(v.values(), default=0.0) for v in finite)), 1.05 * top or 1.0, BOTTOM, TOP)
    together = max(1, *(-(-len(series.values) // MOST_POINTS) for series in found))
    lines = tuple(
        _line(series, kind, values, across, up, 1 if series.sparse else together)
        for series, kind, values in zip(found, _kinds(found), finite, strict=True)
    )
    return Curves(lines, across.ticks(), up.ticks(), together, _table(found))


def _finite(series: Series) -> dict[int, float]:
    return {step: value for step, value in sorted(series.values.items()) if math.isfinite(value)}


def _kinds(found: Sequence[Series]) -> list[int]:
    return [sum(one.sparse == series.sparse for one in found[:i]) % KINDS for i, series in enumerate(found)]


def _line(series: Series, kind: int, values: Mapping[int, float], across: Axis, up: Axis, together: int) -> Line:
    known = list(values.items())
    groups = [known[i : i + together] for i in range(0, len(known), together)]
    points = [(across.place(group[-1][0]), up.place(fmean(value for _, value in group))) for group in groups]
    path = "M" + "L".join(f"{x:g} {y:g}" for x, y in points) if points else ""
    odd = tuple(sorted(series.values.keys() - values.keys()))
    return Line(series, kind, path, tuple(points) if series.sparse else (), odd)


def _table(found: Sequence[Series]) -> tuple[tuple[int, tuple[float | None, ...]], ...]:
    """Some steps with what every series has there, and all steps of which sparse series speak."""
    dense = sorted({step for series in found if not series.sparse for step in series.values})
    spread = {dense[round(i * (len(dense) - 1) / (MOST_ROWS - 1))] for i in range(MOST_ROWS)} if dense else set()
    sparse = sorted({step for series in found if series.sparse for step in series.values})
    shown = sorted(spread | set(sparse[:: -(-len(sparse) // MOST_ROWS) or 1]) | set(sparse[-1:]))
    return tuple((step, tuple(series.values.get(step) for series in found)) for step in shown)
