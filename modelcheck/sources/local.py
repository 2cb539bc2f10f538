"""A checkpoint in a folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from modelcheck.errors import UsageError
from modelcheck.names import JOURNALS, TEMPLATE_FOLDER

# (inode, size in bytes, time of the last change in nanoseconds) of a file.
Status = tuple[int, int, int]


class LocalFolder:
    """A folder's own files (and those of `additional_chat_templates/`), read by `pread`, never mapped."""

    kind = "folder"
    absent: Mapping[str, str] = {}

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises UsageError, with what to do, where the path is no readable folder."""
        self.path = Path(path)
        try:
            self._listed = _listing(self.path)
        except FileNotFoundError:
            raise UsageError(f"{self.path}: no such folder, and no hub id either") from None
        except NotADirectoryError:
            raise UsageError(f"{self.path}: is a file; name the folder of the checkpoint") from None
        except OSError as error:
            raise UsageError(f"{self.path}: {error.strerror or error}") from None
        if not self._listed:
            raise UsageError(f"{self.path}: the folder is empty, there is nothing to lint")
        _refuse_unfinished(self.path)

    def sizes(self) -> Mapping[str, int]:
        return {name: status[1] for name, status in self._listed.items()}

    def status(self, name: str) -> Status:
        """How a file was when the folder was listed, to tell a change by somebody else."""
        return self._listed[name]

    def read(self, name: str, start: int, stop: int) -> bytes:
        return b"".join(bytes(piece) for piece in self.stream(name, start, stop, stop - start))

    def stream(self, name: str, start: int, stop: int, chunk: int) -> Iterator[memoryview]:
        descriptor = _open_regular(self.path / name)
        try:
            buffer = memoryview(bytearray(min(chunk, stop - start)))
            while start < stop:
                piece = buffer[: stop - start]
                _fill(descriptor, piece, start)
                yield piece
                start += len(piece)
        finally:
            os.close(descriptor)

    def shown(self, name: str) -> str:
        return name

    def outside(self, name: str) -> str | None:
        resolved, folder = os.path.realpath(self.path / name), os.path.realpath(self.path)
        if resolved.startswith(folder + os.sep):
            return None
        # The hub's cache keeps snapshots/<revision>/<name> as links to blobs/<hash> of the same repository.
        repository, snapshots = os.path.split(os.path.dirname(folder))
        in_cache = snapshots == "snapshots" and os.path.dirname(resolved) == os.path.join(repository, "blobs")
        return None if in_cache else resolved


def _listing(folder: Path) -> dict[str, Status]:
    listed: dict[str, Status] = {}
    for prefix, place in (("", folder), (f"{TEMPLATE_FOLDER}/", folder / TEMPLATE_FOLDER)):
        if prefix and not place.is_dir():
            continue
        for entry in sorted(os.scandir(place), key=lambda e: e.name):
            try:
                status = entry.stat()
            except OSError:
                listed[prefix + entry.name] = (0, 0, 0)  # a dangling or looping link: reading it says so
            else:
                if not stat.S_ISDIR(status.st_mode):
                    listed[prefix + entry.name] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return listed


def _refuse_unfinished(folder: Path) -> None:
    if os.path.lexists(folder / JOURNALS):
        from modelcheck.transaction import unfinished

        if unfinished(folder):
            raise UsageError(
                f"{folder}: a `modelcheck fix` was interrupted here and its files may be half written: run "
                f"`modelcheck undo {folder}`, which takes it back"
            )


def _fill(descriptor: int, piece: memoryview, start: int) -> None:
    filled = 0
    while filled < len(piece):
        got = os.preadv(descriptor, [piece[filled:]], start + filled)
        if not got:
            raise OSError(f"ends at byte {start + filled}, {len(piece) - filled} bytes early")
        filled += got


def _open_regular(path: Path) -> int:
    # O_NONBLOCK: opening a named pipe must not wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("is not a regular file")
    return descriptor
