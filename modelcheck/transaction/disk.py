"""Every call by which a transaction changes the disk, so that tests can record them all and crash at each."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

# A name that turns into a link must not lead a write elsewhere.
FLAGS = os.O_NOFOLLOW | os.O_CLOEXEC


def create(path: Path, mode: int) -> int:
    """A descriptor for writing a file that must not exist. `mode` is subject to the umask."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | FLAGS, mode)


def open_in_place(path: Path) -> int:
    """A descriptor for overwriting parts of a file."""
    return os.open(path, os.O_RDWR | os.O_NONBLOCK | FLAGS)


def open_lock(path: Path) -> int:
    """A descriptor for locking a file, which is made if need be."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | FLAGS, 0o600)


def write(descriptor: int, content: bytes) -> None:
    """Append all of it."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def pwrite(descriptor: int, content: bytes, offset: int) -> None:
    """Overwrite from `offset` on."""
    rest = memoryview(content)
    while rest:
        done = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[done:], offset + done


def copy_range(source: int, descriptor: int, start: int, stop: int) -> int:
    """Append bytes [start, stop) of another file, or the first of them, and return how many.

    Where the file system can, both files then share them (reflink). Raises OSError where the system cannot copy.
    """
    if not hasattr(os, "copy_file_range"):
        raise OSError(errno.ENOSYS, "no such call")
    done = os.copy_file_range(source, descriptor, stop - start, start)
    if not done:
        raise OSError(errno.EINVAL, "nothing to copy")
    return done


def truncate(descriptor: int, size: int) -> None:
    """Cut a file off."""
    os.ftruncate(descriptor, size)


def take_after(descriptor: int, status: os.stat_result) -> None:
    """Give a file the owner and mode bits of another."""
    own = os.fstat(descriptor)
    if (own.st_uid, own.st_gid) != (status.st_uid, status.st_gid):
        with suppress(PermissionError):  # only root gives files away; whoever may write here owns the new file
            os.fchown(descriptor, status.st_uid, status.st_gid)
    set_mode(descriptor, status.st_mode & 0o7777)


def set_mode(descriptor: int, mode: int) -> None:
    """Set mode bits, whatever the umask."""
    os.fchmod(descriptor, mode)


def set_mtime(descriptor: int, mtime_ns: int) -> None:
    """Say when a file was changed."""
    os.utime(descriptor, ns=(os.fstat(descriptor).st_atime_ns, mtime_ns))


def fsync(descriptor: int) -> None:
    """Return when the content is on the disk."""
    os.fsync(descriptor)


def fsync_dir(path: Path) -> None:
    """Return when the names in a folder are on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | FLAGS)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def mkdir(path: Path, mode: int = 0o700) -> None:
    """Make a folder that must not exist."""
    path.mkdir(mode)


def rmdir(path: Path) -> None:
    """Remove an empty folder."""
    path.rmdir()


def rename(path: Path, to: Path) -> None:
    """Give a file or folder another name, in one step, in the place of what had it."""
    path.replace(to)


def link(path: Path, to: Path) -> None:
    """Give a file a second name."""
    os.link(path, to, follow_symlinks=False)


def unlink(path: Path) -> None:
    """Take a name away."""
    path.unlink()
