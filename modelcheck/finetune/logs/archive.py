"""A zip archive with entries that are compressed by deflate or, as inspect_ai does, by zstandard.

Python's zipfile reads the latter from 3.14 on; it finds the entries here, and no more.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path

from modelcheck.errors import UsageError

ZSTANDARD = 93
# No answer with its messages is larger; a small file that says so is a trap.
LARGEST = 1 << 28


class Archive:
    """The entries of an archive, read one at a time into memory. Raises UsageError for what is broken."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                # Of two entries of one name the later one counts.
                self.entries = {info.filename: info for info in archive.infolist()}
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise self._damaged(error) from None

    @property
    def names(self) -> list[str]:
        """The entries in the order of the archive."""
        return list(self.entries)

    def read(self, name: str) -> bytes:
        """An entry's bytes."""
        if name not in self.entries:
            raise UsageError(f"{self.path}: has no {name}: the evaluation is not complete; run `inspect eval-retry`")
        entry = self.entries[name]
        if entry.file_size > LARGEST:
            raise UsageError(f"{self.path}: {name} is {entry.file_size} bytes large, at most {LARGEST} are read")
        try:
            found = self._unpacked(entry)
        except (zlib.error, OSError, struct.error) as error:
            raise self._damaged(error) from None
        if len(found) != entry.file_size or zlib.crc32(found) != entry.CRC:
            raise self._damaged(f"{name} is not what was written")
        return found

    def _unpacked(self, entry: zipfile.ZipInfo) -> bytes:
        """At most one byte more than the entry says that it holds."""
        with self.path.open("rb") as file:
            file.seek(entry.header_offset)
            name, extra = struct.unpack("<26xHH", file.read(30))
            file.seek(name + extra, 1)
            packed = file.read(entry.compress_size)
        if entry.compress_type == zipfile.ZIP_STORED:
            return packed
        if entry.compress_type == zipfile.ZIP_DEFLATED:
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, entry.file_size + 1)
        if entry.compress_type != ZSTANDARD:
            raise self._damaged(f"{entry.filename} is compressed by method {entry.compress_type}")
        try:
            import pyarrow as pa
        except ImportError:
            install = "pip install 'modelcheck[finetune]'"
            raise UsageError(f"{self.path}: its compression needs the package pyarrow: {install}") from None
        with pa.CompressedInputStream(pa.BufferReader(packed), "zstd") as stream:
            unpacked: bytes = stream.read(entry.file_size + 1)
        return unpacked

    def _damaged(self, error: object) -> UsageError:
        return UsageError(f"{self.path}: the archive is damaged ({error}); evaluate again")
