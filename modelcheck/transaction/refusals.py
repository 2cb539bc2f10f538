"""What is never written: links and what they lead to, the hub's cache, what is protected or has changed."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from modelcheck.change import FileChange, Seen
from modelcheck.errors import UsageError
from modelcheck.sources import hub_cache
from modelcheck.transaction.manifest import is_plain


def check_folder(folder: Path) -> None:
    """Raises UsageError, with a command that works, for a folder in which nothing may be written."""
    instead, real = _instead(folder), folder.resolve()
    if not real.is_dir():
        raise UsageError(f"{folder}: is not a folder; expected a checkpoint's")
    if is_in_hub_cache(real):
        raise UsageError(f"{folder}: lies in the hub's cache, which other programs share; {instead}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{folder}: you may not write in this folder; {instead}")


def is_in_hub_cache(folder: Path) -> bool:
    """Whether a resolved path lies in huggingface_hub's cache, or in one that was moved."""
    moved = any(parent.name == "snapshots" and (parent.parent / "blobs").is_dir() for parent in folder.parents)
    return moved or folder.is_relative_to(hub_cache.folder().resolve())


def check_files(folder: Path, changes: Sequence[FileChange]) -> None:
    """Raises UsageError, with a command that works, unless every change can be written into the folder itself."""
    check_names(folder, changes)
    for change in changes:
        place = folder / change.name
        if change.seen is not None and os.path.lexists(place):
            _check_file(place, place.lstat(), _instead(folder))


def check_names(folder: Path, changes: Sequence[FileChange]) -> None:
    """Raises UsageError for a name that is not of a file directly in the folder, or that is there twice."""
    names = [change.name for change in changes]
    for name in names:
        if not is_plain(name):
            raise UsageError(f"{folder}: {name!r} is no file directly in this folder: it is never written")
        if names.count(name) > 1:
            raise UsageError(f"{folder / name}: is changed twice by one plan; nothing was changed")


def check_unchanged(place: Path, seen: Seen | None) -> None:
    """Raises UsageError if a file is not the one that was linted, as far as its status tells."""
    if seen is None:
        if os.path.lexists(place):
            raise changed(place)
        return
    try:
        status = place.stat()
    except FileNotFoundError:
        raise changed(place) from None
    if (status.st_ino, status.st_size, status.st_mtime_ns) != (seen.inode, seen.size, seen.mtime_ns):
        raise changed(place)


def changed(place: Path) -> UsageError:
    """The error for a file that somebody else has changed."""
    return UsageError(f"{place}: has been changed since it was linted; nothing was written: run the command again")


def _instead(folder: Path) -> str:
    return f"write a mended copy instead: modelcheck fix {folder} --output DIR"


def _check_file(place: Path, status: os.stat_result, instead: str) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise UsageError(f"{place}: is a link to {place.readlink()}, a file that others may use; {instead}")
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(f"{place}: is not a regular file")
    if status.st_nlink > 1:
        raise UsageError(f"{place}: has {status.st_nlink} names (hard links), others may use it; {instead}")
    if not status.st_mode & 0o222 or not os.access(place, os.W_OK):
        raise UsageError(f"{place}: is read-only; allow writing (chmod u+w {place}), or {instead}")
