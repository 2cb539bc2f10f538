"""A zip archive with entries that are compressed by deflate or, as inspect_ai does since 2025, by zstandard."""

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
            if entry.compress_type == ZSTANDARD:
                return self._zstandard(entry)
            with zipfile.ZipFile(self.path) as archive:
                return archive.read(entry)
        except (zipfile.BadZipFile, zlib.error, OSError, ValueError, NotImplementedError, struct.error) as error:
            raise self._damaged(error) from None

    def _zstandard(self, entry: zipfile.ZipInfo) -> bytes:
        """What Python reads by itself from 3.14 on."""
        try:
            import pyarrow as pa
        except ImportError:
            install = "pip install 'modelcheck[finetune]'"
            raise UsageError(f"{self.path}: its compression needs the package pyarrow: {install}") from None
        with self.path.open("rb") as file:
            file.seek(entry.header_offset)
            header = struct.unpack("<4s22xHH", file.read(30))
            file.seek(header[1] + header[2], 1)
            packed = file.read(entry.compress_size)
        with pa.CompressedInputStream(pa.BufferReader(packed), "zstd") as stream:
            found: bytes = stream.read(entry.file_size + 1)
        if len(found) != entry.file_size or zlib.crc32(found) != entry.CRC:
            raise ValueError(f"{entry.filename} is not what was written")
        return found

    def _damaged(self, error: Exception) -> UsageError:
        return UsageError(f"{self.path}: the archive is damaged ({error}); evaluate again")
