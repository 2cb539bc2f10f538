"""A checkpoint as it will be once a plan is carried out: what is linted before anything is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from modelcheck.change import FileChange
from modelcheck.sources import PartlyKnown, Source


class Planned:
    """A source with changes over it; what is kept of a file is read from the source when it is asked for."""

    def __init__(self, source: Source, changes: Sequence[FileChange]) -> None:
        self._source = source
        self._changes = {change.name: change for change in changes}
        self.kind = source.kind
        self.absent = source.absent
        sizes = {name: size for name, size in source.sizes().items() if name not in self._changes}
        self._sizes = sizes | {name: c.size for name, c in self._changes.items() if c.pieces is not None}

    def sizes(self) -> Mapping[str, int]:
        return self._sizes

    def refuse_unknown(self, name: str) -> None:
        if name not in self._changes and isinstance(self._source, PartlyKnown):
            self._source.refuse_unknown(name)

    def read(self, name: str, start: int, stop: int) -> bytes:
        return b"".join(bytes(piece) for piece in self.stream(name, start, stop, max(stop - start, 1)))

    def stream(self, name: str, start: int, stop: int, chunk: int) -> Iterator[memoryview]:
        if name not in self._changes:
            yield from self._source.stream(name, start, stop, chunk)
            return
        # Pieces of exactly `chunk`, whatever pieces the content is made of: readers count on whole rows.
        for at in range(start, stop, chunk):
            yield memoryview(b"".join(self._content(self._changes[name], at, min(stop, at + chunk))))

    def _content(self, change: FileChange, start: int, stop: int) -> Iterator[bytes]:
        offset = 0
        for piece in change.pieces or ():
            low, high = max(start - offset, 0), min(stop - offset, len(piece))
            if low < high:
                if isinstance(piece, bytes):
                    yield piece[low:high]
                else:
                    yield self._source.read(change.name, piece.start + low, piece.start + high)
            offset += len(piece)

    def shown(self, name: str) -> str:
        return name if name in self._changes else self._source.shown(name)

    def outside(self, name: str) -> str | None:
        return None if name in self._changes else self._source.outside(name)
