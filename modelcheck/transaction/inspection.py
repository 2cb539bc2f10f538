"""What has become of a file since it was written: ours still, half written, or somebody else's work by now."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from modelcheck.change import Seen
from modelcheck.errors import UsageError
from modelcheck.transaction.files import holds, reading, regular
from modelcheck.transaction.journal import Journal, refused
from modelcheck.transaction.manifest import Entry

# Of a text: what is compared, in bytes, and how many lines of the difference are shown.
COMPARED, SHOWN = 1 << 20, 60


def is_to_restore(journal: Journal, number: int, entry: Entry) -> bool:
    """Whether undoing has to write a file.

    Raises UsageError if the file is somebody else's work, or if the journal does not hold what it should.
    """
    place, kept = journal.folder / entry.name, journal.old(number)
    if entry.ranges is not None:
        _check_ranges(journal, number, entry)
        return True  # even where the old bytes are back: nobody knows whether they have reached the disk
    if entry.old is not None and holds(place, entry.old):
        # A second name of it is nothing to restore. Another file of the same content has another age.
        return holds(kept, entry.old) and not kept.samefile(place)
    is_there = os.path.lexists(place)
    if is_there and not (entry.new is not None and holds(place, entry.new)):
        raise _edited(place, kept, f"move it aside and run modelcheck undo {journal.folder} again")
    if entry.old is not None and not holds(kept, entry.old):
        raise refused(kept, "does not hold what the manifest says")
    return is_there or entry.old is not None


def _check_ranges(journal: Journal, number: int, entry: Entry) -> None:
    old, new, place, kept = entry.old, entry.new, journal.folder / entry.name, journal.old(number)
    assert old is not None and new is not None and entry.ranges is not None  # noqa: S101, PT018 - manifest.decode
    status, length = regular(kept), sum(stop - start for start, stop in entry.ranges)
    if status is None or not holds(kept, Seen(0, length, 0, old.digest), [(0, length)]):
        raise refused(kept, "does not hold what the manifest says")
    status = regular(place)
    if status is not None and status.st_nlink == 1:
        if holds(place, old, entry.ranges) or holds(place, new, entry.within(new.size)):
            return
        # A write that was cut short leaves a mixture, in the very same file.
        if not journal.is_committed and status.st_ino == old.inode and new.size <= status.st_size <= old.size:
            return
    raise _edited(place, None, "save it elsewhere if you need it")


def _edited(place: Path, kept: Path | None, remedy: str) -> UsageError:
    """The error for a file that undo would overwrite. `kept` is its old content, if that may be a text."""
    first = f"{place}: has been edited since the fix; undo would destroy that, so nothing was changed"
    last = f"{remedy}; or keep all files as they are: modelcheck undo --forget {place.parent}"
    return UsageError("\n".join([first, *_diff(place, kept), last]))


def _diff(place: Path, kept: Path | None) -> list[str]:
    """What undo would have done to the file."""
    now, then = _text(place), _text(kept) if kept and os.path.lexists(kept) else []
    if kept is None or now is None or then is None:
        return []
    lines = list(difflib.unified_diff(now, then, f"{place.name} (now)", f"{place.name} (after undo)", lineterm="", n=1))
    more = [f"... and {len(lines) - SHOWN} more lines"] if len(lines) > SHOWN else []
    return ["".join(c if c.isprintable() else repr(c)[1:-1] for c in line) for line in lines[:SHOWN]] + more


def _text(path: Path) -> list[str] | None:
    status = regular(path)
    if status is None or status.st_size > COMPARED:
        return None
    try:
        with reading(path) as (read, _):
            return read(0, status.st_size).decode("utf-8").splitlines()
    except UnicodeDecodeError:
        return None
