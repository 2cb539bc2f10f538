"""One transaction at a time in a folder; and after the last one, nothing that tells of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from modelcheck.errors import UsageError
from modelcheck.transaction import disk
from modelcheck.transaction.files import told
from modelcheck.transaction.journal import HOME, IGNORE, LOCK, journals, refused


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold DIR/.modelcheck/, made if need be and removed if empty. Raises UsageError where another process has it."""
    home = folder / HOME
    try:
        descriptor = _lock(home)
    except OSError as error:
        raise UsageError(f"{told(error)}: {folder} cannot be written, nothing was changed") from None
    try:
        yield
    finally:
        _leave(folder, descriptor)


def _lock(home: Path) -> int:
    import fcntl

    while True:
        with suppress(FileExistsError):
            disk.mkdir(home)
        if home.is_symlink() or not home.is_dir():
            raise refused(home, "is not a folder")
        try:
            descriptor = disk.open_lock(home / LOCK)
        except FileNotFoundError:
            continue  # another process has just left, and taken the folder with it
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The file that is locked may be one that another process has just removed.
            if os.path.samestat(os.fstat(descriptor), (home / LOCK).stat()):
                return descriptor
            os.close(descriptor)
        except FileNotFoundError:
            os.close(descriptor)
        except BlockingIOError:
            os.close(descriptor)
            raise UsageError(f"{home.parent}: another modelcheck is at work in it: wait until it is done") from None


def _leave(folder: Path, descriptor: int) -> None:
    home = folder / HOME
    with suppress(OSError, UsageError):
        if not journals(folder):
            disk.unlink(home / IGNORE)
    with suppress(OSError):
        disk.unlink(home / LOCK)
    os.close(descriptor)
    with suppress(OSError):
        disk.rmdir(home)
