"""The half of a transaction that touches nothing of the checkpoint: keep what will be lost, write what will be new."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from modelcheck.change import CHUNK, FileChange, Read, Seen, digest
from modelcheck.errors import UsageError
from modelcheck.transaction import disk
from modelcheck.transaction.files import reading
from modelcheck.transaction.journal import Journal
from modelcheck.transaction.manifest import Entry
from modelcheck.transaction.refusals import changed, check_unchanged

# What the folders and the manifest of a journal take, roughly.
OVERHEAD = 64 << 10


def in_place(change: FileChange) -> tuple[tuple[int, bytes], ...] | None:
    """What is overwritten inside a file; None where it is replaced. Small files always are: that is one step."""
    return change.patches if change.name.endswith(".safetensors") else None


def needed_space(folder: Path, changes: Sequence[FileChange]) -> int:
    """Bytes that must be free in the folder to apply the changes: for what is kept and for new files."""
    block = os.statvfs(folder).f_frsize
    return OVERHEAD + sum(-(-_needed(change) // block) * block for change in changes)


def _needed(change: FileChange) -> int:
    if in_place(change) is None:
        return change.size
    return sum(stop - start for start, stop in change.lost())


def check_space(folder: Path, changes: Sequence[FileChange]) -> None:
    """Raises UsageError where the changes do not fit."""
    free, needed = os.statvfs(folder), needed_space(folder, changes)
    if free.f_bavail * free.f_frsize < needed:
        has = f"has {free.f_bavail * free.f_frsize:,} bytes free"
        raise UsageError(f"{folder}: {has}, expected {needed:,}: nothing was changed; make room first")


def stage(journal: Journal, number: int, change: FileChange) -> Entry:
    """Keep what the change will lose and write what it replaces, durably.

    Raises UsageError if the file is not as it was seen, OSError if the disk is full.
    """
    place = journal.folder / change.name
    check_unchanged(place, change.seen)
    if change.seen is None:
        return Entry(change.name, None, _write_new(journal.new(number), change, None))
    with reading(place) as (read, descriptor):
        if in_place(change) is not None:
            return _stage_ranges(journal, number, change, read)
        if digest(read, change.lost()) != change.seen.digest:
            raise changed(place)
        status = os.fstat(descriptor)
        old = Seen(status.st_ino, status.st_size, status.st_mtime_ns, digest(read, iter([(0, status.st_size)])))
        _keep(place, journal.old(number), read, status)
        new = None if change.pieces is None else _write_new(journal.new(number), change, read, status)
        return Entry(change.name, old, new)


def content(change: FileChange, read: Read | None) -> Iterator[bytes]:
    """The new content of a file, in pieces of at most CHUNK bytes where they are of the old one."""
    for piece in change.pieces or ():
        if isinstance(piece, bytes):
            yield piece
        elif read is not None:
            yield from stretch(read, piece.start, piece.stop)


def stretch(read: Read, start: int, stop: int) -> Iterator[bytes]:
    """Bytes [start, stop) of a file, in pieces of at most CHUNK."""
    for at in range(start, stop, CHUNK):
        yield read(at, min(stop, at + CHUNK))


def _stage_ranges(journal: Journal, number: int, change: FileChange, read: Read) -> Entry:
    ranges, patches, seen = tuple(change.lost()), in_place(change) or (), change.seen
    assert seen is not None  # noqa: S101 - a file that was not there cannot be patched
    lost = (piece for start, stop in ranges for piece in stretch(read, start, stop))
    if _write(journal.old(number), 0o600, lost, None).digest != seen.digest:
        raise changed(journal.folder / change.name)
    new = hashlib.sha256()
    for _, piece in patches:
        new.update(piece)
    return Entry(change.name, seen, Seen(seen.inode, change.size, time.time_ns(), new.hexdigest()), ranges)


def _keep(place: Path, kept: Path, read: Read, status: os.stat_result) -> None:
    """Keep the whole of an old file: by a second name, where the file system and the owner allow that."""
    try:
        disk.link(place, kept)
    except OSError:
        _write(kept, 0o600, stretch(read, 0, status.st_size), status, status.st_mtime_ns)


def _write_new(place: Path, change: FileChange, read: Read | None, status: os.stat_result | None = None) -> Seen:
    return _write(place, 0o666, content(change, read), status)


def _write(
    place: Path, mode: int, pieces: Iterator[bytes], like: os.stat_result | None, mtime_ns: int | None = None
) -> Seen:
    """Write a new file, durably. Owner and mode bits are those of `like`."""
    descriptor = disk.create(place, mode)
    try:
        found = hashlib.sha256()
        for piece in pieces:
            found.update(piece)
            disk.write(descriptor, piece)
        if like is not None:
            disk.take_after(descriptor, like)
        if mtime_ns is not None:
            disk.set_mtime(descriptor, mtime_ns)
        disk.fsync(descriptor)
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    return Seen(status.st_ino, status.st_size, status.st_mtime_ns, found.hexdigest())
