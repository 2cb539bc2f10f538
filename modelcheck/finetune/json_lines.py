"""JSON lines that are only ever appended to, so that a run may be killed in any instruction.

It leaves at most a torn last line. Readers leave that line out, and the next writer cuts it off.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from modelcheck.errors import UsageError


def append(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Add lines and return when they are on the disk. A torn last line of an earlier run is cut off first."""
    batch = "".join(json.dumps(record, separators=(",", ":")) + "\n" for record in records)
    fresh = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        _mend(file)
        file.write(batch.encode("ascii"))
        file.flush()
        os.fsync(file.fileno())
    if fresh:
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)


def lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(number from 1, line) without empty lines and a torn last one. Raises UsageError for what cannot be read."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n") and _torn(line):
                    return
                if line.strip():
                    yield number, line
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None


def _mend(file: IO[bytes]) -> None:
    if not file.seek(0, os.SEEK_END):
        return
    file.seek(-1, os.SEEK_END)
    if file.read() == b"\n":
        return
    file.seek(0)
    content = file.read()
    whole = content.rfind(b"\n") + 1
    if _torn(content[whole:]):
        file.truncate(whole)
    else:  # written by hand, without the last newline
        file.write(b"\n")


def _torn(line: bytes) -> bool:
    try:
        return not isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return True
