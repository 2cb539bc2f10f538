"""Reading files that may have become anything: links, pipes, somebody else's content."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from modelcheck.change import Read, Seen, digest

# Larger files are known by inode, size and time of change; a smaller one is read whenever it matters.
SMALL = 8 << 20


@contextmanager
def reading(path: Path, *, through_links: bool = False) -> Iterator[tuple[Read, int]]:
    """How to read stretches of a regular file, and its descriptor. Raises OSError for all else, never waits."""
    follow = 0 if through_links else os.O_NOFOLLOW
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | follow)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "is not a regular file", str(path))
        yield partial(_read, descriptor), descriptor
    finally:
        os.close(descriptor)


def _read(descriptor: int, start: int, stop: int) -> bytes:
    found = bytearray()
    while start + len(found) < stop:
        piece = os.pread(descriptor, stop - start - len(found), start + len(found))
        if not piece:
            raise OSError(f"ends at byte {start + len(found)}, expected {stop}")
        found += piece
    return bytes(found)


def regular(path: Path) -> os.stat_result | None:
    """The status of a regular file; None for anything else, which is never opened."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def holds(path: Path, seen: Seen, ranges: Iterable[tuple[int, int]] | None = None) -> bool:
    """Whether a file is the one that was seen, judged by all of its bytes or by those in `ranges`."""
    status = regular(path)
    if status is None or status.st_size != seen.size:
        return False
    if ranges is None:
        if seen.size > SMALL and (status.st_ino, status.st_mtime_ns) == (seen.inode, seen.mtime_ns):
            return True
        ranges = [(0, seen.size)]
    with reading(path) as (read, _):
        return digest(read, iter(ranges)) == seen.digest


def told(error: OSError) -> str:
    """What went wrong and where, in words."""
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"
