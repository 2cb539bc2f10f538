"""Write a plan into a folder: all of it or nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from modelcheck.change import FileChange
from modelcheck.errors import UsageError
from modelcheck.transaction import disk
from modelcheck.transaction.files import told
from modelcheck.transaction.journal import Journal, following, unfinished
from modelcheck.transaction.lock import locked
from modelcheck.transaction.manifest import Entry
from modelcheck.transaction.recovery import restore
from modelcheck.transaction.refusals import check_files, check_folder, check_unchanged
from modelcheck.transaction.staging import check_space, in_place, stage


def apply(folder: Path, changes: Sequence[FileChange]) -> None:
    """Make the changes, and keep in DIR/.modelcheck/ what `undo` needs to take them back.

    Raises UsageError, with nothing changed, for a link, the hub's cache, a protected file, a file that has been changed
    since it was seen, a full disk, another process at work, or an earlier fix that was interrupted.
    """
    if not changes:
        return
    check_folder(folder)
    folder = folder.resolve()  # no name on the way to a file may be a link
    with locked(folder):
        if unfinished(folder):
            remedy = f"take it back first: modelcheck undo {folder}"
            raise UsageError(f"{folder}: an earlier fix was interrupted here; {remedy}")
        check_files(folder, changes)
        check_space(folder, changes)
        journal = following(folder)
        try:
            _write(journal, changes)
        except OSError as error:
            _take_back(journal, error)
            raise UsageError(f"{folder}: {told(error)}; nothing was changed") from None
        except BaseException as error:
            _take_back(journal, error)
            raise


def _write(journal: Journal, changes: Sequence[FileChange]) -> None:
    journal.make()
    entries = [stage(journal, number, change) for number, change in enumerate(changes)]
    for change in changes:
        # Writing new shards takes minutes: time enough for somebody else.
        check_unchanged(journal.folder / change.name, change.seen)
    journal.go_live(entries)
    for number, (entry, change) in enumerate(zip(entries, changes, strict=True)):
        place = journal.folder / entry.name
        if entry.new is None:
            disk.unlink(place)
        elif entry.ranges is None:
            disk.rename(journal.new(number), place)
        else:
            _patch(place, entry, change)
    journal.commit()


def _patch(place: Path, entry: Entry, change: FileChange) -> None:
    assert entry.old is not None and entry.new is not None  # noqa: S101, PT018 - as it has ranges
    descriptor = disk.open_in_place(place)
    try:
        for offset, piece in in_place(change) or ():
            disk.pwrite(descriptor, piece, offset)
        if entry.new.size < entry.old.size:
            disk.truncate(descriptor, entry.new.size)
        disk.set_mtime(descriptor, entry.new.mtime_ns)
        disk.fsync(descriptor)
    finally:
        os.close(descriptor)


def _take_back(journal: Journal, error: BaseException) -> None:
    if not os.path.lexists(journal.path):
        return
    try:
        restore(journal)
    except (OSError, UsageError) as second:
        why = told(error) if isinstance(error, OSError) else str(error)
        again = told(second) if isinstance(second, OSError) else str(second)
        remedy = f"the fix is half done: make room or access, then run modelcheck undo {journal.folder}"
        raise UsageError(f"{journal.folder}: {why}; and taking it back failed: {again}; {remedy}") from error
