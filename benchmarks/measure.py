"""Measuring side by side: fresh processes in turn, medians, and the table of what came out."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

REPETITIONS = 7
ROOT = Path(__file__).resolve().parents[1]
# One thread each, and this checkout rather than an installed modelcheck.
ENVIRONMENT = os.environ | {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "PYTHONPATH": str(ROOT),
}


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table: `ours` and `theirs` in `unit`, and the bound on their ratio (on `ours` without `theirs`)."""

    what: str
    ours: float
    against: str
    theirs: float | None
    bound: float
    unit: str = "s"

    @property
    def value(self) -> float:
        """What the bound is about."""
        return self.ours if self.theirs is None else self.ours / self.theirs

    def __str__(self) -> str:
        verdict = "ok" if self.value <= self.bound else "TOO MUCH"
        if self.theirs is None:
            return f"{self.what:<52} {self.ours:9.3f} {self.unit:<2} {'':12}    at most {self.bound:g}  {verdict}"
        figures = f"{self.ours:9.3f} {self.unit:<2} {self.theirs:9.3f} {self.unit:<2} {self.value:6.2f}x"
        return f"{self.what:<52} {figures}  at most {self.bound:g}x  {verdict}   ({self.against})"


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


def side_by_side(*commands: Sequence[str], repetitions: int = REPETITIONS) -> list[float]:
    """Median wall times of the commands, run in turn, after one round to warm the caches."""
    for command in commands:
        seconds(command)
    rounds = [[seconds(command) for command in commands] for _ in range(repetitions)]
    return [statistics.median(times) for times in zip(*rounds, strict=True)]


def answer(program: str, *arguments: str) -> str:
    """What a program, run by a fresh interpreter, prints."""
    command = python("-c", program, *arguments)
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout


def show(rows: Iterable[Row]) -> None:
    """Print rows as they are measured."""
    for row in rows:
        print(row, flush=True)
