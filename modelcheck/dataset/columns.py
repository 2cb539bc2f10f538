"""Parts of an example out of the columns of a row: one column, or several merged by a template."""

from __future__ import annotations

import math
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from modelcheck.errors import did_you_mean

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Repeated:
    """What stands in a row for a column whose name several columns of the file have."""

    times: int


class BadValue(Exception):
    """A row does not fit. The text says what was found and what was expected."""


def part(pattern: str, row: Row) -> Any:
    """The value that a column name, or a template such as `{title}: {question}`, names in a row. Raises BadValue.

    A template names columns only: no attributes, indices or formats. `{{` and `}}` are braces.
    """
    if "{" not in pattern:
        return column(pattern, row)
    pieces = []
    for literal, name in _pieces(pattern):
        pieces.append(literal)
        if name is not None:
            pieces.append(as_text(column(name, row), name))
    return "".join(pieces)


def column(name: str, row: Row) -> Any:
    """The value of a column; NaN, which pandas writes for none, is null. Raises BadValue naming those there are."""
    if name not in row:
        raise BadValue(f"has no column {name!r}{did_you_mean(name, row)}; it has {', '.join(map(repr, row)) or 'none'}")
    value = row[name]
    if isinstance(value, Repeated):
        raise BadValue(f"has {value.times} columns {name!r}, and which is meant is not said: rename all but one")
    return None if isinstance(value, float) and math.isnan(value) else value


def as_text(value: Any, name: str) -> str:
    """A text; numbers and null too, but nothing nested. Raises BadValue."""
    if value is None or isinstance(value, (str, int, float)):
        return "" if value is None else str(value)
    raise BadValue(f"column {name!r} is a {type(value).__name__}, expected a text")


def template_problem(pattern: str) -> str | None:
    """What is wrong with a pattern, or None."""
    try:
        list(_pieces(pattern) if "{" in pattern else ())
    except BadValue as error:
        return str(error)
    return None


def _pieces(pattern: str) -> Iterator[tuple[str, str | None]]:
    try:
        parsed = [*string.Formatter().parse(pattern)]
    except ValueError as error:
        raise BadValue(f"template {pattern!r}: {error}; a brace of the text is written twice") from None
    for literal, name, spec, conversion in parsed:
        if name == "" or spec or conversion:
            raise BadValue(f"template {pattern!r}: expected names of columns in braces, such as {{question}}")
        yield literal, name
