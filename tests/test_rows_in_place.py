"""What mending 256 rows of an embedding costs: their bytes, not those of the file."""

from __future__ import annotations

import os
import shutil
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from modelcheck.change import FileChange, Kept, Piece, Seen, digest
from modelcheck.transaction import apply, needed_space, undo
from modelcheck.transaction.files import reading

ROW, ROWS, HEADER = 8192, 256, 1024  # 4096 numbers in bfloat16
SIZES = [pytest.param(64 << 20, id="64 MB"), pytest.param(1 << 30, id="1 GB", marks=pytest.mark.slow)]


def written() -> int:
    """Bytes that this process has asked the system to write."""
    return int(dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())["wchar"])


def change_of(place: Path) -> FileChange:
    """Every so many rows, from the first to the last of the file, one of new bytes."""
    size = place.stat().st_size
    step = (size - HEADER) // ROW // ROWS
    pieces: list[Piece] = []
    at = 0
    for number in range(ROWS):
        start = HEADER + number * step * ROW
        pieces += [Kept(at, start), bytes([number % 255 + 1]) * ROW]
        at = start + ROW
    change = FileChange(place.name, (*pieces, Kept(at, size)), Seen(0, size, 0, ""))
    status = place.stat()
    with reading(place) as (read, _):
        lost = digest(read, change.lost())
    return FileChange(place.name, change.pieces, Seen(status.st_ino, size, status.st_mtime_ns, lost))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts bytes in /proc")
@pytest.mark.parametrize("size", SIZES)
def test_rows_cost_what_rows_weigh(tmp_path: Path, size: int, record_property: Callable[[str, object], None]) -> None:
    place = tmp_path / "model.safetensors"
    place.touch()
    os.truncate(place, HEADER + size)
    change = change_of(place)
    weight = ROW * ROWS
    assert weight < needed_space(tmp_path, [change]) < 1.1 * weight

    started = time.perf_counter()
    shutil.copyfile(place, tmp_path / "rewritten")
    with (tmp_path / "rewritten").open("rb+") as file:
        os.fsync(file)
    rewriting = time.perf_counter() - started
    (tmp_path / "rewritten").unlink()

    tracemalloc.start()
    before, started = written(), time.perf_counter()
    apply(tmp_path, [change])
    patching, cost, (_, peak) = time.perf_counter() - started, written() - before, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert cost < 2.1 * weight
    assert peak < weight
    for offset, piece in (change.patches or ())[:: ROWS // 8]:
        with place.open("rb") as file:
            file.seek(offset)
            assert file.read(ROW) == piece
    undo(tmp_path)
    assert change_of(place) == change
    figures = f"{cost / weight:.2f} x their bytes written, {peak / 1e6:.1f} MB of memory"
    record_property(
        "figure", f"256 rows of {size >> 20} MB: {figures}, {rewriting / patching:.0f} x faster than rewriting"
    )
