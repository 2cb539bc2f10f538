"""`fix --output DIR`: a mended copy of a folder, whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from modelcheck.change import FileChange, Kept, Read, digest
from modelcheck.errors import UsageError
from modelcheck.transaction import disk
from modelcheck.transaction.files import reading, told
from modelcheck.transaction.journal import HOME
from modelcheck.transaction.refusals import changed, check_names, check_unchanged
from modelcheck.transaction.staging import stretch

# What belongs to a folder's tools, not to the checkpoint.
LEFT_OUT = (".git", HOME, ".cache")
# How a system says that it cannot copy between two files by itself.
UNABLE = (errno.ENOSYS, errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EPERM)


def write_copy(folder: Path, output: Path, changes: Sequence[FileChange]) -> None:
    """Copy a checkpoint with the changes made; `output` must not exist or be an empty folder.

    Links are followed, so the copy stands alone; where the file system can, it shares the blocks of unchanged files.
    Mode bits are kept. Raises UsageError, and leaves nothing behind.
    """
    folder, output = folder.resolve(), output.resolve()
    check_names(folder, changes)
    _check_output(folder, output)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    except OSError as error:
        raise UsageError(f"{told(error)}: no copy was made") from None
    try:
        _copy_tree(folder, staged, {change.name: change for change in changes}, (folder,))
        staged.chmod(folder.stat().st_mode & 0o777)
        disk.rename(staged, output)
        disk.fsync_dir(output.parent)
    except BaseException as error:
        shutil.rmtree(staged, ignore_errors=True)
        if isinstance(error, OSError):
            raise UsageError(f"{told(error)}: no copy was made") from None
        raise


def _check_output(folder: Path, output: Path) -> None:
    if output.is_relative_to(folder):
        raise UsageError(f"--output {output}: lies in {folder} itself; name a folder outside of it")
    if os.path.lexists(output) and (not output.is_dir() or any(output.iterdir())):
        raise UsageError(f"--output {output}: exists; name a folder that does not exist or is empty")


def _copy_tree(folder: Path, copy: Path, changes: Mapping[str, FileChange], above: tuple[Path, ...]) -> None:
    """`above` are the folders that this one is in, which a link must not lead back to."""
    for name in sorted({*(path.name for path in folder.iterdir()), *changes}):
        place, change = folder / name, changes.get(name)
        if name in LEFT_OUT and len(above) == 1:
            continue
        if change is not None:
            check_unchanged(place, change.seen)
            if change.pieces is not None:
                _copy_file(place, copy / name, change)
        elif not place.is_dir():
            _copy_file(place, copy / name, FileChange(name, (Kept(0, place.stat().st_size),), None))
        else:
            if (real := place.resolve()) in above:
                raise UsageError(
                    f"{place}: is a link to {real}, the folder it is in: no copy was made; remove the link"
                )
            disk.mkdir(copy / name, 0o777)
            _copy_tree(real, copy / name, {}, (*above, real))
    disk.fsync_dir(copy)


def _copy_file(place: Path, copy: Path, change: FileChange) -> None:
    with ExitStack() as stack:
        target = disk.create(copy, 0o666)
        stack.callback(os.close, target)
        if os.path.lexists(place):
            read, source = stack.enter_context(reading(place, through_links=True))
            if change.seen is not None and digest(read, change.lost()) != change.seen.digest:
                raise changed(place)
            disk.set_mode(target, os.fstat(source).st_mode & 0o777)
        for piece in change.pieces or ():
            if isinstance(piece, bytes):
                disk.write(target, piece)
            else:
                _copy_stretch(read, source, target, piece)
        disk.fsync(target)


def _copy_stretch(read: Read, source: int, target: int, kept: Kept) -> None:
    at = kept.start
    while at < kept.stop:
        try:
            at += disk.copy_range(source, target, at, kept.stop)
        except OSError as error:
            if error.errno not in UNABLE:
                raise
            for piece in stretch(read, at, kept.stop):
                disk.write(target, piece)
            return
