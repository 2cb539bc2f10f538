"""An axis of a picture: which numbers stand on it, and where."""

from __future__ import annotations

import math
from dataclasses import dataclass

# Steps from one number to the next, times a power of ten.
STEPS = (1, 2, 2.5, 5)


@dataclass(frozen=True, slots=True)
class Tick:
    """A place on an axis and the number there."""

    place: float
    label: str


@dataclass(frozen=True, slots=True)
class Axis:
    """A linear axis: the numbers from `low` to `high` lie on the places from `start` to `end`."""

    low: float
    high: float
    start: float = 0.0
    end: float = 100.0

    def place(self, value: float) -> float:
        """Where a number lies; what lies beyond an end is drawn at it."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self.start + (self.end - self.start) * share, 2)

    def ticks(self, most: int = 6) -> tuple[Tick, ...]:
        """Round numbers on the axis, at most so many."""
        span = self.high - self.low
        power = 10.0 ** math.floor(math.log10(span / most))
        step = next(s for f in (*STEPS, 10 * STEPS[0], 10 * STEPS[1]) if span / (s := f * power) <= most - 1)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        # Adding nothing makes of -0 a 0.
        return tuple(Tick(self.place(n * step), f"{round(n * step, 10) + 0.0:g}") for n in range(first, last + 1))
