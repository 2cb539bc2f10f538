"""The manifest of a journal: what a transaction makes of each file. On reading it is a download like any other."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

from modelcheck.change import Seen

FORMAT = 1
# A million ranges; a plan that mends every row of the largest vocabulary makes a tenth of it.
LIMIT = 32 << 20
LARGEST = (1 << 63) - 1
Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One file: `old` is None where it is created, `new` where it is removed.

    `ranges` are the stretches of the old file that are overwritten in place or cut off, and the digests are of them;
    None where the file is replaced as a whole, and the digests are of all of it.
    """

    name: str
    old: Seen | None
    new: Seen | None
    ranges: Ranges | None = None

    def within(self, size: int) -> Ranges | None:
        """The ranges in a file that has been cut to that size."""
        return self.ranges and tuple((start, min(stop, size)) for start, stop in self.ranges if start < size)


class NotAManifest(ValueError):
    """Says what is wrong."""


def encode(entries: Sequence[Entry]) -> bytes:
    """The text of a manifest, with a checksum over itself."""
    files = [{"name": e.name, "old": _listed(e.old), "new": _listed(e.new), "ranges": e.ranges} for e in entries]
    return json.dumps({"format": FORMAT, "files": files, "checksum": _checksum(files)}, separators=(",", ":")).encode()


def decode(content: bytes) -> tuple[Entry, ...]:
    """The entries of a manifest. Raises NotAManifest for everything that `encode` does not write."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise NotAManifest(f"is not JSON: {error}") from None
    _expect(isinstance(document, dict) and document.keys() == {"format", "files", "checksum"}, "has other keys")
    _expect(document["format"] == FORMAT, f"has format {document['format']!r:.40}, expected {FORMAT}")
    _expect(isinstance(document["files"], list), "lists no files")
    _expect(document["checksum"] == _checksum(document["files"]), "does not have the checksum that it states")
    entries = tuple(_entry(number, item) for number, item in enumerate(document["files"]))
    _expect(len({entry.name for entry in entries}) == len(entries), "names a file twice")
    return entries


def is_plain(name: object) -> bool:
    """Whether a name can only be that of a file directly in the folder."""
    return (
        isinstance(name, str)
        and re.fullmatch(r"(?!\.{1,2}$|\.modelcheck$)[^/\\\0]{1,255}", name, re.DOTALL) is not None
    )


def _listed(seen: Seen | None) -> tuple[Any, ...] | None:
    return astuple(seen) if seen else None


def _checksum(files: Any) -> str:
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()


def _entry(number: int, item: Any) -> Entry:
    place = f"file {number}"
    _expect(isinstance(item, dict) and item.keys() == {"name", "old", "new", "ranges"}, f"{place} has other keys")
    _expect(is_plain(item["name"]), f"{place} is called {item['name']!r:.80}, which is no file of the folder")
    old, new = _seen(item["old"], f"{place}, old"), _seen(item["new"], f"{place}, new")
    _expect(old is not None or new is not None, f"{place} neither was nor will be")
    if item["ranges"] is None:
        return Entry(item["name"], old, new)
    _expect(old is not None and new is not None and new.size <= old.size, f"{place} has ranges in no file")
    ranges = _ranges(item["ranges"], old.size if old else 0, f"{place}, ranges")
    cut = new is not None and old is not None and new.size < old.size
    reaches = not cut or (ranges and ranges[-1][1] == (old and old.size) and ranges[-1][0] <= (new.size if new else 0))
    _expect(reaches, f"{place} is cut off where no range is")
    return Entry(item["name"], old, new, ranges)


def _seen(item: Any, place: str) -> Seen | None:
    if item is None:
        return None
    _expect(isinstance(item, list) and len(item) == len(Seen.__slots__), f"{place} is no list of four")
    _expect(all(map(_is_whole, item[:3])), f"{place} has other numbers than whole ones")
    _expect(isinstance(item[3], str) and re.fullmatch("[0-9a-f]{64}", item[3]) is not None, f"{place} has no digest")
    return Seen(*item)


def _ranges(items: Any, size: int, place: str) -> Ranges:
    _expect(isinstance(items, list), f"{place}: no list of them")
    found, end = [], 0
    for item in items:
        _expect(isinstance(item, list) and len(item) == 2 and all(map(_is_whole, item)), f"{place}: no pairs")
        start, stop = item
        _expect(end <= start < stop <= size, f"{place}: out of order or outside the file")
        found.append((start, stop))
        end = stop
    return tuple(found)


def _is_whole(number: Any) -> bool:
    return type(number) is int and 0 <= number <= LARGEST


def _expect(fits: Any, what: str) -> None:
    if not fits:
        raise NotAManifest(what)
