"""modelcheck's own cache: pieces of files on the hub, which never change because they are named by their commit.

`MODELCHECK_CACHE`, else `modelcheck` in the user's cache folder. A piece is one file, written beside its place and
moved there, and ends with a digest: what was cut short or damaged counts as absent.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from modelcheck.sources.hub_cache import expanded

# The embeddings of two large models. The oldest pieces go first.
LIMIT = 4 << 30
DIGEST = 16
# What a killed process left half-written is swept up once nobody can still be writing it.
LEFT_OVER = 3600.0


def place() -> Path:
    """The folder of the cache, there or not."""
    if said := os.environ.get("MODELCHECK_CACHE"):
        return expanded(said)
    return expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "modelcheck"


def size() -> tuple[int, int]:
    """(pieces, bytes) in the cache."""
    sizes = [status.st_size for _, status in _pieces()]
    return len(sizes), sum(sizes)


def repositories() -> dict[str, int]:
    """{repository: bytes}, the largest first."""
    sizes: Counter[str] = Counter()
    for path, status in _pieces():
        sizes[_repository(path)] += status.st_size
    return dict(sizes.most_common())


def clear(repository: str | None = None) -> None:
    """Delete every piece, or those of a repository, and nothing that is not ours."""
    for path, _ in _pieces():
        if repository in (None, _repository(path)):
            _delete(path)
    _sweep(0)


def trim() -> None:
    """Delete the oldest pieces until the rest fits."""
    pieces = sorted(_pieces(), key=lambda piece: piece[1].st_mtime)
    total = sum(status.st_size for _, status in pieces)
    for path, status in pieces:
        if total <= LIMIT:
            break
        _delete(path)
        total -= status.st_size
    _sweep(LEFT_OVER)


class Pieces:
    """What is known of one file: byte ranges [start, stop). What cannot be written is held in memory for the run."""

    def __init__(self, repository: str, *key: str) -> None:
        """`key` names the file for ever, with the repository: endpoint, commit, path."""
        digest = blake2b("\0".join((repository, *key)).encode(), digest_size=DIGEST).hexdigest()
        # No id holds two dashes in a row.
        self._folder = place() / "pieces" / f"{repository.replace('/', '--')}@{digest}"
        self._memory: dict[tuple[int, int], bytes] = {}
        self._trusted: set[tuple[int, int]] = set()
        self._spans = {span for path in _listed(self._folder) if (span := _span(path.name))}

    def holes(self, start: int, stop: int) -> list[tuple[int, int]]:
        """The parts of [start, stop) that are not here, in order."""
        found, at = [], start
        for low, high in sorted(self._spans):
            if high <= at or low >= stop or not self._is_sound((low, high)):
                continue
            if low > at:
                found.append((at, low))
            at = high
        return [*found, (at, stop)] if at < stop else found

    def get(self, start: int, stop: int) -> bytes | None:
        """Bytes [start, stop), or None where some of them are not here (any more)."""
        parts, at = [], start
        for low, high in sorted(self._spans):
            if low <= at < high and at < stop:
                part = self._part((low, high), at, min(high, stop))
                if part is None:
                    return None
                parts.append(part)
                at += len(part)
        return b"".join(parts) if at == stop else None

    def whole(self) -> bytes | None:
        """The longest piece that begins at 0: a document that was put as one piece."""
        stop = max((high for low, high in self._spans if low == 0 and self._is_sound((low, high))), default=0)
        return self.get(0, stop) if stop else None

    def put(self, start: int, data: bytes) -> bool:
        """Keep a piece. Whether it is on the disk."""
        span = (start, start + len(data))
        try:
            _write(self._folder / f"{start}-{span[1]}", data + _digest(data))
        except OSError:
            self._memory[span] = data
        self._spans.add(span)
        self._trusted.add(span)
        return span not in self._memory

    def _is_sound(self, span: tuple[int, int]) -> bool:
        if span in self._trusted:
            return True
        path = self._folder / f"{span[0]}-{span[1]}"
        with suppress(OSError):
            content = path.read_bytes()
            if len(content) == span[1] - span[0] + DIGEST and _digest(content[:-DIGEST]) == content[-DIGEST:]:
                self._trusted.add(span)
                return True
            path.unlink()
        self._spans.discard(span)
        return False

    def _part(self, span: tuple[int, int], start: int, stop: int) -> bytes | None:
        if span in self._memory:
            return self._memory[span][start - span[0] : stop - span[0]]
        try:
            if not self._is_sound(span):
                return None
            with (self._folder / f"{span[0]}-{span[1]}").open("rb") as file:
                file.seek(start - span[0])
                part = file.read(stop - start)
        except OSError:  # another process has made room
            part = b""
        if len(part) == stop - start:
            return part
        self._spans.discard(span)
        return None


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=DIGEST).digest()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, name = tempfile.mkstemp(prefix=".new-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _span(name: str) -> tuple[int, int] | None:
    start, _, stop = name.partition("-")
    if start.isascii() and stop.isascii() and start.isdigit() and stop.isdigit() and int(start) < int(stop):
        return int(start), int(stop)
    return None


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    try:
        return list(os.scandir(folder))
    except OSError:
        return []


def _pieces() -> Iterator[tuple[Path, os.stat_result]]:
    for folder in _listed(place() / "pieces"):
        for piece in _listed(Path(folder.path)):
            with suppress(OSError):
                if _span(piece.name):
                    yield Path(piece.path), piece.stat()


def _repository(piece: Path) -> str:
    return piece.parent.name.rpartition("@")[0].replace("--", "/")


def _delete(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
    with suppress(OSError):  # not empty yet
        path.parent.rmdir()


def _sweep(age: float) -> None:
    for folder in _listed(place() / "pieces"):
        for left in _listed(Path(folder.path)):
            with suppress(OSError):
                if left.name.startswith(".new-") and time.time() - left.stat().st_mtime >= age:
                    _delete(Path(left.path))
