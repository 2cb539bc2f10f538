"""The line of every key of a TOML document, which tomllib does not tell.

The text has been parsed before, so this reads it without judging it.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterator

Place = tuple[str | int, ...]

PIECE = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|\#[^\n]*|\n|[\[\]{}=,.]|[^\s\[\]{}=,.\"'#]+",
    re.DOTALL,
)


def lines(text: str) -> dict[Place, int]:
    """{(key, key, index, key, ...): line from 1} of every table, key and entry of an array of tables."""
    found: dict[Place, int] = {}
    tables: Counter[Place] = Counter()
    table: Place = ()
    reader = _Reader(text, found)
    while reader.piece is not None:
        if reader.piece == "\n":
            reader.step()
        elif reader.piece == "[":
            table = reader.header(tables)
        else:
            reader.pair(table)
    return found


class _Reader:
    """One piece of look-ahead over a document."""

    def __init__(self, text: str, found: dict[Place, int]) -> None:
        self._pieces, self._found = _pieces(text), found
        self.piece: str | None = None
        self.line = 1
        self.step()

    def step(self) -> None:
        self.piece, self.line = next(self._pieces, (None, self.line))

    def header(self, tables: Counter[Place]) -> Place:
        """`[a.b]` or `[[a.b]]`; returns what the keys below it belong to."""
        line = self.line
        self.step()
        listed = self.piece == "["
        if listed:
            self.step()
        keys = [*self._key("]")]
        path: Place = ()
        for i, key in enumerate(keys, 1):
            path = (*path, key)
            tables[path] += listed and i == len(keys)
            if tables[path]:
                path = (*path, tables[path] - 1)
        if listed:
            self.step()
        self._found.setdefault(path, line)
        self.step()
        return path

    def pair(self, table: Place) -> None:
        """`key = value`."""
        line = self.line
        path = (*table, *self._key("="))
        self._found.setdefault(path, line)
        self.step()
        self._value(path)

    def _key(self, end: str) -> Iterator[str]:
        while self.piece is not None and self.piece != end:
            piece = self.piece
            self.step()
            if piece != ".":
                yield _plain(piece)

    def _value(self, path: Place) -> None:
        if self.piece == "{":
            self.step()
            while self.piece not in ("}", None):
                if self.piece in (",", "\n"):
                    self.step()
                else:
                    self.pair(path)
            self.step()
        elif self.piece == "[":
            self.step()
            index = 0
            while self.piece not in ("]", None):
                if self.piece in (",", "\n"):
                    index += self.piece == ","
                    self.step()
                else:
                    self._found[*path, index] = self.line
                    self._value((*path, index))
            self.step()
        else:
            while self.piece not in (",", "\n", "}", "]", None):  # a number has a dot
                self.step()


def _pieces(text: str) -> Iterator[tuple[str, int]]:
    line = 1
    for match in PIECE.finditer(text):
        piece = match[0]
        if not piece.startswith("#"):
            yield piece, line
        line += piece.count("\n")


def _plain(piece: str) -> str:
    """The key that a piece writes, quoted or bare."""
    return str(tomllib.loads(f"k = {piece}")["k"]) if piece[0] in "\"'" else piece
