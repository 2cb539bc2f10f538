"""Take back the newest transaction of a folder, whether a commit or a crash ended it."""

from __future__ import annotations

import os
from pathlib import Path

from modelcheck.errors import UsageError
from modelcheck.transaction import disk
from modelcheck.transaction.files import reading, told
from modelcheck.transaction.inspection import is_to_restore
from modelcheck.transaction.journal import HOME, OLD, Journal, journals
from modelcheck.transaction.lock import locked
from modelcheck.transaction.manifest import Entry
from modelcheck.transaction.staging import stretch


def undo(folder: Path) -> list[str]:
    """Restore the files of the newest journal. Returns a line for each; none where there is nothing to undo.

    Raises UsageError, with nothing changed, where the user has edited one of them since (with the difference), or for a
    journal that is not ours.
    """
    if not os.path.lexists(folder / HOME):
        return []
    folder = folder.resolve()  # no name on the way to a file may be a link
    with locked(folder):
        try:
            return [line for journal in journals(folder)[-1:] for line in restore(journal)]
        except OSError as error:
            remedy = f"make room or access, then run modelcheck undo {folder} again"
            raise UsageError(f"{folder}: {told(error)}; {remedy}") from None


def forget(folder: Path) -> None:
    """Drop all journals: the files stay as they are, even half done. Raises UsageError for what is not ours."""
    if not os.path.lexists(folder / HOME):
        return
    folder = folder.resolve()
    with locked(folder):
        try:
            # The oldest first: what a crash leaves can still be undone, in its order.
            for journal in journals(folder):
                journal.remove()
        except OSError as error:
            raise UsageError(f"{folder}: {told(error)}") from None


def restore(journal: Journal) -> list[str]:
    """Leave the folder as it was before the journal, and remove the journal. A crash within can be followed by another.

    Raises UsageError, with nothing changed, for edited files and for a journal that is not ours; OSError.
    """
    if not journal.is_live:
        journal.remove()
        return ["removed what an interrupted fix had prepared; it had changed nothing yet"]
    entries, was_committed = journal.read(), journal.is_committed
    lost = [number for number, entry in enumerate(entries) if is_to_restore(journal, number, entry)]
    journal.uncommit()
    for number in lost:
        _restore(journal, number, entries[number], was_committed)
    for path in (journal.folder, journal.path / OLD):
        disk.fsync_dir(path)
    journal.remove()
    return [f"{entry.name}: {'removed' if entry.old is None else 'restored'}" for entry in entries]


def _restore(journal: Journal, number: int, entry: Entry, was_committed: bool) -> None:
    place = journal.folder / entry.name
    if entry.old is None:
        disk.unlink(place)
    elif entry.ranges is None:
        disk.rename(journal.old(number), place)
    else:
        _restore_ranges(journal.old(number), place, entry, was_committed)


def _restore_ranges(kept: Path, place: Path, entry: Entry, was_committed: bool) -> None:
    assert entry.old is not None and entry.new is not None  # noqa: S101, PT018 - manifest.decode
    descriptor = disk.open_in_place(place)
    try:
        is_ours = not was_committed or os.fstat(descriptor).st_mtime_ns == entry.new.mtime_ns
        with reading(kept) as (read, _):
            at = 0
            for start, stop in entry.ranges or ():
                for piece in stretch(read, at, at + stop - start):
                    disk.pwrite(descriptor, piece, start)
                    start += len(piece)  # noqa: PLW2901 - the next piece belongs behind this one
                    at += len(piece)
        if is_ours:  # otherwise somebody has changed other parts of it, and that is when it was changed
            disk.set_mtime(descriptor, entry.old.mtime_ns)
        disk.fsync(descriptor)
    finally:
        os.close(descriptor)
