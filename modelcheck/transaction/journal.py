"""The journals of a folder, on disk: DIR/.modelcheck/journal-0001/, the newest last."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelcheck.errors import UsageError
from modelcheck.transaction import disk
from modelcheck.transaction.files import reading, told
from modelcheck.transaction.manifest import LIMIT, Entry, NotAManifest, decode, encode

HOME, LOCK, IGNORE = ".modelcheck", "lock", ".gitignore"
MANIFEST, DRAFT, COMMIT, OLD, NEW = "manifest.json", "manifest.draft", "commit", "old", "new"
NAME, NUMBER = re.compile(r"journal-([0-9]{4,9})"), re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Journal:
    """One journal. What is read of it is checked: it may have come with a download."""

    path: Path

    @property
    def folder(self) -> Path:
        """The checkpoint that it belongs to."""
        return self.path.parent.parent

    def old(self, number: int) -> Path:
        """Where the old bytes of the file of that number are kept."""
        return self.path / OLD / str(number)

    def new(self, number: int) -> Path:
        """Where a new file of that number waits."""
        return self.path / NEW / str(number)

    def make(self) -> None:
        """Make its folders, of which git is to know nothing."""
        if not os.path.lexists(self.path.parent / IGNORE):
            _write(self.path.parent / IGNORE, b"*\n")
        for path in (self.path, self.path / OLD, self.path / NEW):
            disk.mkdir(path)

    def go_live(self, entries: Sequence[Entry]) -> None:
        """Make everything durable, the manifest last. From now on the journal alone knows what the checkpoint was."""
        _write(self.path / DRAFT, encode(entries))
        for path in (self.path / OLD, self.path / NEW, self.path):
            disk.fsync_dir(path)
        disk.rename(self.path / DRAFT, self.path / MANIFEST)
        for path in (self.path, self.path.parent, self.folder):
            disk.fsync_dir(path)

    def commit(self) -> None:
        """Say, durably, that the checkpoint is wholly new."""
        for path in (self.folder, self.path / NEW):
            disk.fsync_dir(path)
        _write(self.path / COMMIT, b"")
        disk.fsync_dir(self.path)

    def uncommit(self) -> None:
        """Say, durably, that the checkpoint may be anything between old and new."""
        if self.is_committed:
            disk.unlink(self.path / COMMIT)
            disk.fsync_dir(self.path)

    @property
    def is_committed(self) -> bool:
        """Whether the checkpoint was wholly new when it ended."""
        return os.path.lexists(self.path / COMMIT)

    @property
    def is_live(self) -> bool:
        """Whether anything of the checkpoint may have been touched."""
        return os.path.lexists(self.path / MANIFEST)

    def read(self) -> tuple[Entry, ...]:
        """What it says of each file. Raises UsageError, with the place, for what no journal of ours holds."""
        place = self.path / MANIFEST
        list(self._contents())
        try:
            with reading(place) as (read, descriptor):
                size = os.fstat(descriptor).st_size
                if size > LIMIT:
                    raise NotAManifest(f"is {size} bytes, expected at most {LIMIT}")
                return decode(read(0, size))
        except NotAManifest as error:
            raise refused(place, str(error)) from None
        except OSError as error:
            raise refused(place, told(error)) from None

    def remove(self) -> None:
        """Forget it. The manifest goes first: what then remains has nothing to say about the checkpoint."""
        contents = list(self._contents())
        if self.is_live:
            disk.unlink(self.path / MANIFEST)
            disk.fsync_dir(self.path)
        for path, is_folder in contents:
            if is_folder:
                disk.rmdir(path)
            elif path.name != MANIFEST:
                disk.unlink(path)
        disk.rmdir(self.path)
        disk.fsync_dir(self.path.parent)

    def _contents(self) -> Iterator[tuple[Path, bool]]:
        """What is in it, in an order in which it can be removed, and whether it is a folder."""
        for entry in _entries(self.path):
            is_folder = entry.name in (OLD, NEW)
            if entry.name not in (MANIFEST, DRAFT, COMMIT, OLD, NEW):
                raise refused(Path(entry.path), "does not belong there")
            _expect_kind(entry, is_folder=is_folder)
            for inner in _entries(Path(entry.path)) if is_folder else ():
                if not NUMBER.fullmatch(inner.name):
                    raise refused(Path(inner.path), "does not belong there")
                _expect_kind(inner, is_folder=False)
                yield Path(inner.path), False
            yield Path(entry.path), is_folder


def journals(folder: Path) -> list[Journal]:
    """The journals of a folder, oldest first. Raises UsageError for what cannot be ours."""
    home = folder / HOME
    if not os.path.lexists(home):
        return []
    if not stat.S_ISDIR(home.lstat().st_mode):
        raise refused(home, "is not a folder")
    found = [entry for entry in _entries(home) if NAME.fullmatch(entry.name)]
    for entry in found:
        _expect_kind(entry, is_folder=True)
    return [Journal(Path(e.path)) for e in sorted(found, key=lambda e: int(e.name.removeprefix("journal-")))]


def following(folder: Path) -> Journal:
    """The journal that comes next."""
    last = journals(folder)[-1:]
    number = int(last[0].path.name.removeprefix("journal-")) + 1 if last else 1
    return Journal(folder / HOME / f"journal-{number:04}")


def unfinished(folder: Path) -> bool:
    """Whether a fix was interrupted here, so that the checkpoint may be half old and half new.

    Opens no file and writes nothing. Raises UsageError where it cannot tell.
    """
    return any(not journal.is_committed for journal in journals(folder))


def refused(place: Path, what: str) -> UsageError:
    """The error for something that no journal of ours is."""
    home = next(parent for parent in (place, *place.parents) if parent.name == HOME)
    remedy = f"nothing was changed; if this folder was downloaded with it, delete {home}"
    return UsageError(f"{place}: {what}: this is not a journal that modelcheck wrote; {remedy}")


def _write(path: Path, content: bytes) -> None:
    descriptor = disk.create(path, 0o600)
    try:
        disk.write(descriptor, content)
        disk.fsync(descriptor)
    finally:
        os.close(descriptor)


def _entries(path: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise UsageError(f"{told(error)}; whether a fix was interrupted here cannot be told") from None


def _expect_kind(entry: os.DirEntry[str], *, is_folder: bool) -> None:
    fits = entry.is_dir(follow_symlinks=False) if is_folder else entry.is_file(follow_symlinks=False)
    if not fits:
        raise refused(Path(entry.path), f"is not a {'folder' if is_folder else 'regular file'}")
