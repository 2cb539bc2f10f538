"""`fix --output DIR`: a mended copy of a folder, whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from modelcheck.change import CHUNK, FileChange, Kept, Read, digest
from modelcheck.errors import UsageError
from modelcheck.sources import PartlyKnown, Source
from modelcheck.transaction import disk
from modelcheck.transaction.files import reading, told
from modelcheck.transaction.journal import HOME
from modelcheck.transaction.refusals import changed, check_names, check_unchanged, is_in_hub_cache
from modelcheck.transaction.staging import stretch

# What belongs to a folder's tools, not to the checkpoint.
LEFT_OUT = (".git", HOME, ".cache")
OTHER_WEIGHTS = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx", ".gguf", ".ot")
# How a system says that it cannot copy between two files by itself.
UNABLE = (errno.ENOSYS, errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EPERM)


def write_copy(folder: Path, output: Path, changes: Sequence[FileChange]) -> None:
    """Copy a checkpoint with the changes made; `output` must not exist or be an empty folder.

    Links are followed, so the copy stands alone; where the file system can, it shares the blocks of unchanged files.
    Mode bits are kept. Raises UsageError, and leaves nothing behind.
    """
    folder, output = folder.resolve(), output.resolve()
    check_names(folder, changes)
    if output.is_relative_to(folder):
        raise UsageError(f"--output {output}: lies in {folder} itself; name a folder outside of it")
    with _staged(output, folder.stat().st_mode & 0o777) as copy:
        _copy_tree(folder, copy, {change.name: change for change in changes}, (folder,))


def write_copy_of(source: Source, output: Path, changes: Sequence[FileChange]) -> None:
    """The same of a repository on the hub: what loaders read of it is fetched. Raises UsageError."""
    changed_files = {change.name: change for change in changes}
    sizes = source.sizes()
    with _staged(output.resolve(), 0o777 & ~_umask()) as copy:
        if isinstance(source, PartlyKnown):
            source.refuse_unknown("*")
        for name in sorted({*filter(_is_needed(sizes), sizes), *changed_files}):
            whole = FileChange(name, (Kept(0, sizes.get(name, 0)),), None)
            _fetch_file(source, copy / name, changed_files.get(name, whole))


@contextmanager
def _staged(output: Path, mode: int) -> Iterator[Path]:
    """A new folder that becomes `output` once it is whole, and is gone if it does not become so."""
    if is_in_hub_cache(output):
        raise UsageError(f"--output {output}: lies in the hub's cache, which other programs share; name another folder")
    if os.path.lexists(output) and (not output.is_dir() or any(output.iterdir())):
        raise UsageError(f"--output {output}: exists; name a folder that does not exist or is empty")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    except OSError as error:
        raise UsageError(f"{told(error)}: no copy was made") from None
    try:
        yield staged
        staged.chmod(mode)
        disk.fsync_dir(staged)
        disk.rename(staged, output)
        disk.fsync_dir(output.parent)
    except BaseException as error:
        shutil.rmtree(staged, ignore_errors=True)
        if isinstance(error, OSError):
            raise UsageError(f"--output {output}: {told(error)}: no copy was made") from None
        raise


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _is_needed(sizes: Iterable[str]) -> Callable[[str], bool]:
    """Which files of a repository a loader may want: not the same weights in other formats."""
    others = OTHER_WEIGHTS if any(name.endswith(".safetensors") for name in sizes) else ()
    return lambda name: not name.endswith(others) and not name.startswith(".git")


def _fetch_file(source: Source, copy: Path, change: FileChange) -> None:
    if change.pieces is None:
        return
    copy.parent.mkdir(exist_ok=True)
    target = disk.create(copy, 0o666)
    try:
        for piece in change.pieces:
            if isinstance(piece, bytes):
                disk.write(target, piece)
            else:
                for stretch_of in source.stream(change.name, piece.start, piece.stop, CHUNK):
                    disk.write(target, bytes(stretch_of))
        disk.fsync(target)
    finally:
        os.close(target)


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
