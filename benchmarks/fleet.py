"""200 small checkpoints: two processes against one, and what the largest process takes, against ten checkpoints."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from measure import Row, answer, python, show, side_by_side

from modelcheck.testing import write_overlay

MANY, FEW = 200, 10
PEAK = """
import resource, subprocess, sys
subprocess.run([sys.executable, "-m", "modelcheck", "lint", *sys.argv[1:]], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
"""


def rows() -> Iterator[Row]:
    """What `--jobs` is worth, and whether memory is flat."""
    with TemporaryDirectory() as name:
        folders = [str(write_overlay(Path(name, f"{number:03}"), {})) for number in range(MANY)]
        files = {count: Path(name, f"{count}.txt") for count in (MANY, FEW)}
        for count, file in files.items():
            file.write_text("\n".join(folders[:count]))
        called = ["--targets-file", str(files[MANY]), "--jobs"]
        two, one = side_by_side(
            python("-m", "modelcheck", "lint", *called, "2"), python("-m", "modelcheck", "lint", *called, "1"),
            repetitions=3,
        )  # fmt: skip
        yield Row(f"{MANY} checkpoints, --jobs 2", two, "--jobs 1", one, 1)
        peaks = [
            statistics.median(float(answer(PEAK, "--targets-file", str(files[n]), "--jobs", "2")) for _ in range(3))
            for n in (MANY, FEW)
        ]
        yield Row(f"largest process, {MANY} checkpoints", peaks[0], f"{FEW} checkpoints", peaks[1], 1.25, "MB")


if __name__ == "__main__":
    show(rows())
