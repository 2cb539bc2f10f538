"""Where a checkpoint's bytes come from: by file name and range, whoever keeps them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol, runtime_checkable


class Source(Protocol):
    """Bytes by name and range. Names are relative, with `/` between folder and file."""

    @property
    def kind(self) -> str:
        """`folder`, `gguf` or `objects`: what the JSON report calls the source."""

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
class Converted(Protocol):
    """A source whose files were made of something else's entries."""

    def key(self, name: str, at: str | None) -> str | None:
        """What the entry is called there that a place in a file was made of."""
