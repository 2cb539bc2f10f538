"""How long a row may be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RowLimit:
    """`tokens` of a rendered row, and what says so. `binding` is a limit that training will cut rows at."""

    tokens: int
    source: str
    binding: bool = False
