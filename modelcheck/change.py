"""What a plan makes of one file: its new content, as new bytes and stretches of the old content."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

CHUNK = 1 << 20
Read = Callable[[int, int], bytes]


@dataclass(frozen=True, slots=True)
class Kept:
    """Bytes [start, stop) of the old file."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


Piece = bytes | Kept


@dataclass(frozen=True, slots=True)
class Seen:
    """A file as it was when it was linted, so that a change by somebody else can be told.

    `digest` is the SHA-256, in hex, of the bytes that the change does not keep, in their order (see `digest`).
    """

    inode: int
    size: int
    mtime_ns: int
    digest: str


@dataclass(frozen=True, slots=True)
class FileChange:
    """The new content of one file; `pieces` None removes it, `seen` None creates it."""

    name: str
    pieces: tuple[Piece, ...] | None
    seen: Seen | None

    @property
    def size(self) -> int:
        """Of the new file, in bytes."""
        return sum(map(len, self.pieces or ()))

    @property
    def patches(self) -> tuple[tuple[int, bytes], ...] | None:
        """(offset, new bytes) of what is overwritten in place; None where a new file has to be written.

        In place is possible where every stretch that is kept stays at its offset and the file does not grow.
        """
        if self.pieces is None or self.seen is None or self.size > self.seen.size:
            return None
        found, offset = [], 0
        for piece in self.pieces:
            if isinstance(piece, bytes):
                found.append((offset, piece))
            elif piece.start != offset:
                return None
            offset += len(piece)
        kept = any(isinstance(piece, Kept) for piece in self.pieces)
        return tuple(found) if kept else None

    def lost(self) -> Iterator[tuple[int, int]]:
        """The stretches [start, stop) of the old file, of `seen.size` bytes, that the change does not keep."""
        end = 0
        for kept in sorted((p for p in self.pieces or () if isinstance(p, Kept)), key=lambda p: p.start):
            if kept.start > end:
                yield end, kept.start
            end = max(end, kept.stop)
        if self.seen and end < self.seen.size:
            yield end, self.seen.size


def digest(read: Read, stretches: Iterator[tuple[int, int]]) -> str:
    """The SHA-256, in hex, of stretches of a file, read in pieces."""
    found = hashlib.sha256()
    for start, stop in stretches:
        for at in range(start, stop, CHUNK):
            found.update(read(at, min(stop, at + CHUNK)))
    return found.hexdigest()
