"""Where a checkpoint's bytes come from: by file name and range, whoever keeps them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

Span = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Access:
    """How the hub is asked: which revision, whether at all, and whether standard error says what is to come.

    `instead` is what has the hub asked for a repository that the user did not name, where nobody is asked by itself.
    """

    revision: str | None = None
    offline: bool = False
    announced: bool = False
    instead: str | None = None


@dataclass(frozen=True, slots=True)
class Pinned:
    """A repository on the hub at the commit `sha`: `read` of its `total` bytes came over the network in this run."""

    id: str
    sha: str
    read: int
    total: int


class Source(Protocol):
    """Bytes by name and range. Names are relative, with `/` between folder and file."""

    @property
    def kind(self) -> str:
        """`folder`, `hub`, `gguf` or `objects`: what the JSON report calls the source."""

    @property
    def absent(self) -> Mapping[str, str]:
        """What is not there because the caller passed no such object or folder, {file name: argument}."""

    def sizes(self) -> Mapping[str, int]:
        """{file name: size in bytes} of every file of the checkpoint."""

    def read(self, name: str, start: int, stop: int) -> bytes:
        """Bytes [start, stop) of a file. Raises OSError where they cannot be had."""

    def stream(self, name: str, start: int, stop: int, chunk: int) -> Iterator[memoryview]:
        """Bytes [start, stop) in pieces of `chunk`, the last one shorter; each view is valid until the next."""

    def shown(self, name: str) -> str:
        """What the report calls a file: its name, or its path where the set-up took it from somewhere else."""

    def outside(self, name: str) -> str | None:
        """Where a file really lies, if a link leads out of the checkpoint; a link into the hub's own cache does not."""


@runtime_checkable
class Remote(Source, Protocol):
    """A source some of whose bytes may come over a network."""

    def expect(self, spans: Iterable[Span]) -> None:
        """Fetch together the bytes [start, stop) of files that are about to be read."""

    def pinned(self) -> Sequence[Pinned]:
        """The repositories that are read, and how much of them. Empty where no part is from the hub."""

    def close(self) -> None:
        """The run is over: nothing more will be read."""


@runtime_checkable
class PartlyKnown(Source, Protocol):
    """A source that may have files which its `sizes` lack."""

    def refuse_unknown(self, name: str) -> None:
        """Raise Unreachable, with what to do, where nobody knows whether there is a file of that name (a pattern)."""


@runtime_checkable
class Converted(Protocol):
    """A source whose files were made of something else's entries."""

    def key(self, name: str, at: str | None) -> str | None:
        """What the entry is called there that a place in a file was made of."""
