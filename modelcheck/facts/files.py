"""The files of a checkpoint, read with bounds and in the way their readers will read them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any

from modelcheck.errors import Unasked, Unreachable
from modelcheck.fact import Malformed, Missing, NotApplicable, NotPassed, Unfetched, fact
from modelcheck.names import TEXT_LIMIT
from modelcheck.sources import PartlyKnown, Remote, Source, Span

# Gemma 3's tokenizer.json has 2.1 million commas and opening brackets. What a parser makes of JSON grows with their
# number, not with the size: 16 million empty arrays take 48 MB as text and 1.2 GB parsed.
ELEMENTS_LIMIT = 3_000_000
LFS_POINTER = b"version https://git-lfs"

JsonObject = Mapping[str, Any]


class Files:
    """Names, sizes and contents. What is wrong with a file is raised as Malformed, with the network as Unfetched."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._sizes = source.sizes()
        self._partly_known = source if isinstance(source, PartlyKnown) else None

    def __contains__(self, name: str) -> bool:
        """Raises Missing where nobody knows."""
        if name not in self._sizes and self._partly_known:
            with _network():
                self._partly_known.refuse_unknown(name)
        return name in self._sizes

    def __iter__(self) -> Iterator[str]:
        return iter(self._sizes)

    def like(self, pattern: str) -> list[str]:
        """The names that match a pattern such as `*.safetensors`. Raises Missing where nobody knows all of them."""
        if self._partly_known:
            with _network():
                self._partly_known.refuse_unknown(pattern)
        return [name for name in self if fnmatchcase(name, pattern)]

    def size(self, name: str) -> int:
        """Size in bytes."""
        return self._sizes[name]

    def require(self, name: str, why: str) -> None:
        """Raise NotApplicable(why) where there is no such file, or NotPassed where a live object would bring it."""
        if name not in self:
            self.refuse_unpassed(name)
            raise NotApplicable(why)

    def refuse_unpassed(self, name: str) -> None:
        """Raise NotPassed where another part of the set-up would bring the file, and was not passed."""
        if name not in self and (argument := self._source.absent.get(name)):
            raise NotPassed(argument)

    def read(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        """Bytes [start, stop) of a file."""
        end = self.size(name) if stop is None else stop
        try:
            with _network():
                return self._source.read(name, start, end)
        except OSError as error:
            raise Malformed(name, f"cannot be read: {error.strerror or error}") from error

    def stream(self, name: str, start: int, stop: int, chunk: int) -> Iterator[memoryview]:
        """Bytes [start, stop) in pieces; each view is valid until the next is asked for."""
        try:
            with _network():
                yield from self._source.stream(name, start, stop, chunk)
        except OSError as error:
            raise Malformed(name, f"cannot be read: {error.strerror or error}") from error

    def expect(self, spans: Iterable[Span]) -> None:
        """Say which (name, start, stop) will be read next: a source far away fetches them together."""
        if isinstance(self._source, Remote):
            with _network():
                self._source.expect(spans)

    @property
    def remote(self) -> bool:
        """Whether reading takes a network."""
        return isinstance(self._source, Remote)

    def outside(self, name: str) -> str | None:
        """Where a file really lies, if a link leads out of the checkpoint."""
        return self._source.outside(name)

    def is_lfs_pointer(self, name: str) -> bool:
        """Whether git-LFS left a pointer of some 130 bytes in the file's place."""
        return self.size(name) < 1024 and self.read(name, 0, self.size(name)).startswith(LFS_POINTER)

    def refuse_pointer(self, name: str) -> None:
        """Raise Malformed where git-LFS left a pointer."""
        if self.is_lfs_pointer(name):
            raise Malformed(
                name, f"is a git-LFS pointer of {self.size(name)} bytes, not the file itself: run `git lfs pull`"
            )

    def whole(self, name: str, limit: int = TEXT_LIMIT) -> bytes:
        """The whole file, if it is one that may be held in memory."""
        if self.size(name) > limit:
            raise Malformed(
                name, f"is {self.size(name) / 1e6:.0f} MB, more than the {limit / 1e6:.0f} MB that such a file may hold"
            )
        self.refuse_pointer(name)
        return self.read(name)

    def text(self, name: str, limit: int = TEXT_LIMIT) -> str:
        """The whole file as UTF-8."""
        try:
            return self.whole(name, limit).decode("utf-8")
        except UnicodeDecodeError as error:
            raise Malformed(name, f"is not UTF-8: byte {error.start} is {error.object[error.start]:#04x}") from error

    def json(self, name: str, limit: int = TEXT_LIMIT) -> Any:
        """The file's JSON value, as strict as the loaders are (no byte order mark)."""
        text = self.text(name, limit)
        if not text.strip():
            raise Malformed(name, "is empty, expected JSON")
        refuse_crowded(name, text)
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            place = f"{error.lineno}:{error.colno}"
            raise Malformed(
                name, f"is not JSON: {error.msg} at line {error.lineno} column {error.colno}", at=place
            ) from error
        except RecursionError as error:
            raise Malformed(name, "is JSON nested too deeply to be read") from error
        except ValueError as error:
            raise Malformed(name, f"is not JSON that can be read: {error}") from error

    def json_object(self, name: str, limit: int = TEXT_LIMIT) -> dict[str, Any]:
        """The file's JSON value, which must be an object."""
        value = self.json(name, limit)
        if not isinstance(value, dict):
            raise Malformed(name, f"holds a JSON {json_type(value)}, expected an object", at="")
        return value


@contextmanager
def _network() -> Iterator[None]:
    try:
        yield
    except Unasked as error:
        raise Missing(str(error)) from None
    except Unreachable as error:
        raise Unfetched(str(error)) from None


def refuse_crowded(name: str, text: str, limit: int = ELEMENTS_LIMIT) -> None:
    """Raise Malformed for JSON of so many elements that parsing it would take gigabytes."""
    if sum(map(text.count, ",[{")) > limit:
        raise Malformed(name, f"holds more than {limit / 1e6:.0f} million JSON elements")


def json_type(value: object) -> str:
    """What JSON calls the type of a value."""
    names = {dict: "object", list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "null")


def expect(file: str, at: str, value: Any, *types: type) -> Any:
    """The value, if it is of one of the types (a boolean is no number). Raises Malformed naming the place."""
    if type(value) in types:
        return value
    wanted = " or ".join(dict.fromkeys("whole number" if t is int else json_type(t()) for t in types))
    raise Malformed(
        file, f"{at.rpartition('/')[2]} is a {json_type(value)} ({shorten(value)}), expected a {wanted}", at=at
    )


def shorten(value: object, limit: int = 60) -> str:
    """A printable form of a value from a file, cut where it grows long."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def some(names: Sequence[str], most: int = 3) -> str:
    """The first few names, quoted, and how many more there are."""
    shown = ", ".join(shorten(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


@fact
def files(source: Source) -> Files:
    """The files of the checkpoint."""
    return Files(source)
