"""Measuring side by side: fresh processes in turn, medians, and the table of what came out.

How to read a line: what was measured, ours and the peer's median, their ratio, its bound (PERF.md's, or ours), whether
it holds, and in brackets what the peer did. Seconds belong to the machine and the hour, ratios to the programs: both
sides run in turn, and the ratio is the median of the pairs' own ratios, so that a machine that slows down for a minute
slows both sides of a pair, not one side of the table.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REPETITIONS = 11
ROOT = Path(__file__).resolve().parents[1]
# One thread each, and this checkout rather than an installed modelcheck.
ENVIRONMENT = os.environ | {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "PYTHONPATH": str(ROOT),
}


# Ends with whoever started it, however that ends.
SPIN = """
import os, sys
os.sched_setaffinity(0, {int(sys.argv[1])})
while os.getppid() == int(sys.argv[2]):
    pass  # the load
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table: `ours` and `theirs` in `unit`, and the bound on their ratio (on `ours` without `theirs`).

    `ratio` is that of the pairs, where there were several; the ratio of the two figures otherwise.
    """

    what: str
    ours: float
    against: str
    theirs: float | None
    bound: float
    unit: str = "s"
    ratio: float | None = None

    @classmethod
    def paired(cls, what: str, ours: Sequence[float], against: str, theirs: Sequence[float], bound: float) -> Row:
        """Seconds measured in pairs: the medians, and the median of the pairs' ratios."""
        ratio = statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))
        return cls(what, statistics.median(ours), against, statistics.median(theirs), bound, ratio=ratio)

    @property
    def value(self) -> float:
        """What the bound is about."""
        if self.ratio is not None:
            return self.ratio
        return self.ours if self.theirs is None else self.ours / self.theirs

    @property
    def holds(self) -> bool:
        """Whether it is within its bound."""
        return self.value <= self.bound

    def __str__(self) -> str:
        verdict = "ok" if self.holds else "TOO MUCH"
        if self.theirs is None:
            return f"{self.what:<52} {self.ours:9.3f} {self.unit:<2} {'':12}    at most {self.bound:g}  {verdict}"
        figures = f"{self.ours:9.3f} {self.unit:<2} {self.theirs:9.3f} {self.unit:<2} {self.value:8.3g}x"
        return f"{self.what:<52} {figures}  at most {self.bound:.3g}x  {verdict}   ({self.against})"


def python(*arguments: str) -> list[str]:
    """The command of a fresh interpreter."""
    return [sys.executable, *arguments]


def seconds(command: Sequence[str]) -> float:
    """Wall time of one process. Its exit code is its own affair (findings are 1), a crash is not."""
    started = time.perf_counter()
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, check=False, cwd=tempfile.gettempdir())
    elapsed = time.perf_counter() - started
    if done.returncode not in (0, 1, 5) or b"Traceback" in done.stderr:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr.decode()}")
    return elapsed


def side_by_side(*commands: Sequence[str], repetitions: int = REPETITIONS) -> list[tuple[float, ...]]:
    """Wall times of each command, run in turn, after one round to warm the caches."""
    for command in commands:
        seconds(command)
    rounds = [[seconds(command) for command in commands] for _ in range(repetitions)]
    return list(zip(*rounds, strict=True))


def answer(program: str, *arguments: str) -> str:
    """What a program, run by a fresh interpreter, prints."""
    command = python("-c", program, *arguments)
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout


@contextmanager
def others_busy() -> Iterator[None]:
    """All cores but the first have a process that never rests."""
    _, *others = sorted(os.sched_getaffinity(0))
    spinning = [subprocess.Popen(python("-c", SPIN, str(core), str(os.getpid()))) for core in others]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def show(rows: Iterable[Row]) -> None:
    """Print rows as they are measured. Exit code 1 where one of them is beyond its bound."""
    measured = []
    for row in rows:
        print(row, flush=True)
        measured.append(row)
    if not all(row.holds for row in measured):
        raise SystemExit(1)
