"""The lock of a job: one process works, and whoever waits is told for whom, at once and once."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelcheck.finetune.lock import ONE_RUN
from modelcheck.finetune.state import State

HOLDER = """
import sys
from pathlib import Path
from modelcheck.finetune.state import State
with State(Path(sys.argv[1])).lock:
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not one run with what these tests start, even where xdist runs them."""
    monkeypatch.delenv(ONE_RUN, raising=False)


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until it reads a line."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "tiny")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout
        assert running.stdout.readline() == "held\n"
        yield running
        running.kill()


def end(holder: subprocess.Popen[str]) -> None:
    assert holder.stdin
    holder.stdin.write("\n")
    holder.stdin.flush()


def test_who_waits_is_told_for_whom_before_waiting(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    told: list[str] = []

    def hear(line: str) -> None:
        told.append(line)
        end(holder)  # heard while it is still held: else this waits for ever

    made = State(tmp_path / "tiny", hear).result("stage", {}, lambda: {"made": 1})
    assert made == {"made": 1}
    [line] = told
    assert line.startswith(f"{tmp_path / 'tiny'}: process {holder.pid} on ")
    assert line.endswith("; this one waits until it is done")


def test_a_look_tells_once_and_does_not_wait(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    told: list[str] = []
    state = State(tmp_path / "tiny", told.append)
    state.lock.look()
    state.lock.look()
    assert [f"process {holder.pid} on " in line for line in told] == [True]


def test_a_killed_holder_is_waited_for_no_longer(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.wait()
    told: list[str] = []
    began = time.monotonic()
    with State(tmp_path / "tiny", told.append).lock:
        assert time.monotonic() - began < 5
    assert told == []


def test_workers_of_one_run_wait_for_each_other_without_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ONE_RUN, "one")
    told: list[str] = []
    mine, other = State(tmp_path / "tiny"), State(tmp_path / "tiny", told.append)
    with mine.lock, mine.lock:  # whoever holds it may enter it again
        other.lock.look()
        assert told == []
        monkeypatch.setenv(ONE_RUN, "another")
        other.lock.look()
        assert len(told) == 1
    other.lock.look()
    assert len(told) == 1
