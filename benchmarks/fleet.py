"""Small checkpoints, many and few: two processes against one, and the memory of all processes together."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from measure import ENVIRONMENT, Row, python, show, side_by_side

from modelcheck.testing import write_overlay

MANY, FEW = 200, 10
REPETITIONS, SAMPLES = 5, 3


def rows() -> Iterator[Row]:
    """What `--jobs` is worth, and whether memory is flat."""
    with TemporaryDirectory() as name:
        folders = [str(write_overlay(Path(name, f"{number:03}"), {})) for number in range(MANY)]
        files = {count: Path(name, f"{count}.txt") for count in (MANY, FEW)}
        for count, file in files.items():
            file.write_text("\n".join(folders[:count]))
            two, one = side_by_side(_lint(file, 2), _lint(file, 1), repetitions=REPETITIONS)
            yield Row.paired(f"{count} checkpoints, --jobs 2", two, "--jobs 1", one, 1 if count == MANY else 1.5)
        many, few = (statistics.median(_peak(_lint(files[count], 2)) for _ in range(SAMPLES)) for count in (MANY, FEW))
        yield Row(f"memory of all processes, {MANY} checkpoints", many, f"{FEW} checkpoints", few, 1.25, "MB")


def _lint(targets: Path, jobs: int) -> list[str]:
    return python("-m", "modelcheck", "lint", "--targets-file", str(targets), "--jobs", str(jobs))


def _peak(command: list[str]) -> float:
    """MB at the most, over a command and all that it starts; what processes share is counted once."""
    null = subprocess.DEVNULL
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=null, stderr=null, start_new_session=True)
    peak = 0
    while process.poll() is None:
        peak = max(peak, _used(process.pid))
        time.sleep(0.02)
    return peak / 1024


def _used(session: int) -> int:
    """What the processes of a session use, in kB."""
    total = 0
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if int((place / "stat").read_text().rpartition(") ")[2].split()[3]) == session:
                [own] = [line for line in (place / "smaps_rollup").read_text().splitlines() if line.startswith("Pss:")]
                total += int(own.split()[1])
    return total


if __name__ == "__main__":
    show(rows())
