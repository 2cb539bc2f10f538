"""What a key of a job file may hold, and the reader that collects everything that is wrong with a file."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelcheck.errors import did_you_mean
from modelcheck.finetune.toml_lines import Place

DECIMAL = r"([0-9]+(?:\.[0-9]+)?)"
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Wrong(ValueError):
    """A value is not of its kind. The text, if any, takes the place of `expected ...`; `near` is added to that."""

    def __init__(self, text: str = "", *, near: str = "") -> None:
        super().__init__(text)
        self.near = near


@dataclass(frozen=True, slots=True)
class Kind:
    """`read` makes the value of what TOML holds, or raises Wrong; `wanted` says what it takes."""

    wanted: str
    read: Callable[[Any, Reader, Place], Any]


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a job file: the class that it becomes and the kinds of its keys.

    `later` are keys to come, `elsewhere` what is said to those that stand in another place.
    """

    make: Callable[..., Any]
    keys: Mapping[str, Kind]
    required: tuple[str, ...] = ()
    later: Mapping[str, str] = field(default_factory=dict)
    elsewhere: Mapping[str, str] = field(default_factory=dict)


class Reader:
    """Reads tables of one file; `errors` are sentences that begin with file and line."""

    def __init__(self, file: Path, lines: Mapping[Place, int]) -> None:
        self.file, self._lines = file, lines
        self.errors: list[tuple[int, str]] = []

    def line(self, at: Place) -> int:
        """The line of a place, or of the first that is below it, or of the nearest table around it."""
        while at and at not in self._lines:
            if below := self.below(at):
                return min(below.values())
            at = at[:-1]
        return self._lines.get(at, 1)

    def below(self, at: Place) -> dict[str, int]:
        """{key below a table, dotted: its line}."""
        return {dotted(place[len(at) :]): line for place, line in self._lines.items() if place[: len(at)] == at}

    def say(self, at: Place, problem: str) -> None:
        """Note what is wrong with a place."""
        self.errors.append((self.line(at), f"{self.file}:{self.line(at)}: {dotted(at)}: {problem}"))

    def table(self, table: Table, content: Mapping[str, Any], at: Place) -> Any:
        """What the table becomes; None where something in it is wrong."""
        values = self.values(table, content, at)
        missing = [key for key in table.required if key not in values]
        if missing:
            self.say(at, f"lacks {' and '.join(missing)}")
        return None if missing or None in values.values() else table.make(**values)

    def values(self, table: Table, content: Mapping[str, Any], at: Place) -> dict[str, Any]:
        """{key: value} of a table, None in the place of what is wrong."""
        values = {}
        for key, value in content.items():
            if key in table.keys:
                try:
                    values[key] = self.value(table.keys[key], value, (*at, key))
                except Wrong:
                    values[key] = None
            elif key in table.later:
                self.say((*at, key), f"{table.later[key]} is not available yet")
            elif key in table.elsewhere:
                self.say((*at, key), table.elsewhere[key])
            else:
                near = did_you_mean(key, table.keys)
                self.say((*at, key), f"unknown key{near}; known are {', '.join(table.keys)}")
        return values

    def value(self, kind: Kind, value: Any, at: Place) -> Any:
        """The value, read. Raises Wrong after noting what is wrong with it."""
        before = len(self.errors)
        try:
            read = kind.read(value, self, at)
        except Wrong as wrong:
            if len(self.errors) == before:
                self.say(at, str(wrong) or f"is {shown(value)}, expected {kind.wanted}{wrong.near}")
            raise
        if len(self.errors) > before:
            raise Wrong
        return read


def dotted(at: Place) -> str:
    """`job.rugby.suite[1].name`."""
    text = "".join(f"[{key + 1}]" if isinstance(key, int) else f".{key}" for key in at)
    return text.removeprefix(".")


def shown(value: Any) -> str:
    """A value as the file might write it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a table"
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _of(wanted: str, fits: Callable[[Any], bool], make: Callable[[Any], Any] = lambda value: value) -> Kind:
    def read(value: Any, _reader: Reader, _at: Place) -> Any:
        if not fits(value):
            raise Wrong
        return make(value)

    return Kind(wanted, read)


OFF = _of("-1 (off)", lambda value: type(value) is int and value == -1)


TEXT = _of("a text", lambda value: isinstance(value, str) and bool(value))
FLAG = _of("true or false", lambda value: isinstance(value, bool))
MAPPING = _of("a table", lambda value: isinstance(value, Mapping), dict)
TEXT_MAPPING = _of(
    "a table of texts",
    lambda value: isinstance(value, Mapping) and all(isinstance(item, str) for item in value.values()),
    dict,
)
PATH = Kind("a path, relative to this file", lambda value, reader, _: path(value, reader))
PROGRAM = Kind("a path or a program's name", lambda value, reader, _: program(value, reader))


def path(value: Any, reader: Reader) -> Path:
    """An absolute path; what is relative lies beside the file. Links are left as they are."""
    if not isinstance(value, str) or not value:
        raise Wrong
    return Path.absolute(reader.file.parent / Path(value).expanduser())


def program(value: Any, reader: Reader) -> str:
    """An interpreter: a path, or a name that PATH is searched for."""
    return str(path(value, reader)) if isinstance(value, str) and "/" in value else str(TEXT.read(value, reader, ()))


def whole(least: int, most: int | None = None) -> Kind:
    """A whole number."""
    wanted = f"a whole number from {least}{f' to {most}' if most is not None else ' up'}"
    return _of(wanted, lambda v: type(v) is int and v >= least and (most is None or v <= most))


def number(least: float, most: float | None = None, *, above: bool = False, below: bool = False) -> Kind:
    """A finite number in [least, most]; with `above`, not `least` itself; with `below`, not `most` itself."""
    lower = f"number {'above' if above else 'from'} {least:g}"
    upper = "" if most is None else f" {'and below' if below else 'to'} {most:g}"
    highest = sys.float_info.max if most is None else most

    def fits(value: Any) -> bool:
        return (
            type(value) in (int, float)
            and (value > least if above else value >= least)
            and (value < highest if below else value <= highest)
        )

    return _of(f"a {'finite ' if most is None else ''}{lower}{upper}", fits, float)


def choice(*words: str, later: Iterable[str] = ()) -> Kind:
    """One of the words. Those of `later` are known, and refused."""
    available = ", ".join(f'"{word}"' for word in words)
    kinds = f"one of {available}" if len(words) > 1 else available

    def read(value: Any, _reader: Reader, _at: Place) -> Any:
        if value in words:
            return value
        if value in later:
            raise Wrong(f'"{value}" is not available yet; available: {available}')
        raise Wrong(near=did_you_mean(value, words) if isinstance(value, str) else "")

    return Kind(kinds, read)


def either(*kinds: Kind) -> Kind:
    """The first kind that takes the value."""

    def read(value: Any, reader: Reader, at: Place) -> Any:
        text = near = ""
        for kind in kinds:
            try:
                return kind.read(value, reader, at)
            except Wrong as wrong:
                text, near = text or str(wrong), near or wrong.near
        raise Wrong(text, near=near)

    return Kind(" or ".join(kind.wanted for kind in kinds), read)


def listed(kind: Kind, *, least: int = 0, most: int | None = None) -> Kind:
    """A list of one kind, read as a tuple."""
    size = f"a list of {least}" if least == most else "a list, not empty," if least else "a list"

    def read(value: Any, reader: Reader, at: Place) -> Any:
        if not isinstance(value, list) or len(value) < least or (most is not None and len(value) > most):
            raise Wrong
        return tuple(reader.value(kind, item, (*at, i)) for i, item in enumerate(value))

    return Kind(f"{size} of {kind.wanted}" if least != most else f"{size}: {kind.wanted}", read)


def span(kind: Kind) -> Kind:
    """The lowest and the highest value of one kind."""
    pair = listed(kind, least=2, most=2)

    def read(value: Any, reader: Reader, at: Place) -> Any:
        low, high = pair.read(value, reader, at)
        if low > high:
            raise Wrong
        return low, high

    return Kind(f"{pair.wanted}, the lower one first", read)


def nested(table: Table) -> Kind:
    """A table of its own."""

    def read(value: Any, reader: Reader, at: Place) -> Any:
        if not isinstance(value, Mapping):
            raise Wrong
        return reader.table(table, value, at)

    return Kind(f"a table with the keys {', '.join(table.keys)}", read)


def _seconds(value: Any, _reader: Reader, _at: Place) -> float:
    match = re.fullmatch(rf"{DECIMAL} ?([smhd])", value) if isinstance(value, str) else None
    if not match or not float(match[1]) > 0:
        raise Wrong
    return float(match[1]) * UNITS[match[2]]


def _share(value: Any, _reader: Reader, _at: Place) -> float:
    match = re.fullmatch(rf"{DECIMAL} ?%", value) if isinstance(value, str) else None
    if match and 0 < float(match[1]) < 100:
        return float(match[1]) / 100
    if type(value) is int and value >= 1:
        return value
    raise Wrong


DURATION = Kind('a time such as "45s", "90m" or "2h"', _seconds)
SHARE_OR_STEPS = Kind('a share such as "10%" or a number of steps', _share)
