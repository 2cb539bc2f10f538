"""A run that is killed on the way leaves the hub's cache as it was, and nothing that a later run could stumble over."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fakehub import FakeHub, Fault, Request
from test_hub import adapter, download, files, on_disk
from test_hub_counts import sharded

import modelcheck
from modelcheck.testing import write_overlay

ZEROS = {"tensors.json": '{"model.embed_tokens.weight": {"4": "zeros", "300": "zeros"}}'}
COMMAND = [sys.executable, "-m", "modelcheck", "lint", "org/faulty", "--weights", "embeddings"]
# The listing, three small files, the header, the rest of the weights.
REQUESTS = 6


def killed_at(hub: FakeHub, wanted: int, *, before: bool) -> int:
    """Kill a lint when its n-th request arrives, or when half of the answer is on its way. Returns the exit status."""
    process = subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def kill(number: int, request: Request) -> Fault | None:
        if number < wanted:
            return None
        if before:
            process.send_signal(signal.SIGKILL)
        return Fault(cut=True) if before else Fault(cut=True, afterwards=lambda: process.send_signal(signal.SIGKILL))

    hub.fault = kill
    process.communicate(timeout=60)
    hub.fault = lambda number, request: None
    hub.forget()
    return process.returncode


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in on_disk(folder) if (folder / name).is_file()}


@pytest.mark.parametrize("before", [True, False], ids=["unanswered", "half-answered"])
@pytest.mark.parametrize(
    "number", [n if n in (1, 3, REQUESTS) else pytest.param(n, marks=pytest.mark.slow) for n in range(1, REQUESTS + 1)]
)
def test_nothing_partial_is_left(hub: FakeHub, tmp_path: Path, number: int, *, before: bool) -> None:
    hub.add("org/faulty", files(write_overlay(tmp_path / "faulty", ZEROS)))
    download("org/faulty", "generation_config.json")
    hub.forget()
    cache = contents(Path(os.environ["HF_HUB_CACHE"]))
    assert killed_at(hub, number, before=before) == -signal.SIGKILL
    assert contents(Path(os.environ["HF_HUB_CACHE"])) == cache
    [report] = modelcheck.lint("org/faulty", weights="embeddings")
    assert report.error is None
    assert report.findings == modelcheck.lint(str(tmp_path / "faulty")).findings != []
    assert contents(Path(os.environ["HF_HUB_CACHE"])) == cache


# Seconds from the first request on, of a run whose every request takes a while.
WHILE, LONGEST = 0.03, 0.8
RUNS = {
    "sharded": ("lint", "org/sharded", "--weights", "full"),
    "adapter": ("lint", "org/adapter"),
    "fix": ("fix", "org/model", "--unsafe", "--output", "mended"),
}


def killed_within(hub: FakeHub, run: tuple[str, ...], seconds: float) -> None:
    """Kill a run so long after its first request, if it has not ended by then."""
    hub.fault = lambda number, request: Fault(seconds=WHILE)
    process = subprocess.Popen(
        [sys.executable, "-m", "modelcheck", *run], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not hub.requests and process.poll() is None:
        time.sleep(0.005)
    time.sleep(seconds)
    process.kill()
    process.wait()
    hub.fault = lambda number, request: None
    hub.forget()


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6))])
@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_nothing_partial_is_left_at_any_time(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: tuple[str, ...], seed: int
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = write_overlay(tmp_path / "original", {**ZEROS, "config.json": '{"use_cache": false}'})
    hub.add("org/model", files(folder))
    hub.add("org/sharded", sharded())
    hub.add("org/adapter", adapter("org/model"))
    killed_within(hub, run, random.Random(f"{seed} {run}").uniform(0, LONGEST))
    assert on_disk(Path(os.environ["HF_HUB_CACHE"])) == []
    assert not Path("mended").exists() or contents(Path("mended")).keys() == contents(folder).keys()
    [report] = modelcheck.lint(run[1], weights="full")
    fresh = Path("fresh")
    monkeypatch.setenv("MODELCHECK_CACHE", str(fresh))
    [expected] = modelcheck.lint(run[1], weights="full")
    assert (report.error, report.findings, report.skipped) == (None, expected.findings, expected.skipped)
