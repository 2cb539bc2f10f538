"""A stage's process: one that goes on talking has the limits of a silent one, and what is no interpreter is told."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelcheck.finetune.stage import Failed, Worker

IGNORES = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"


@pytest.fixture
def chatterer(tmp_path: Path) -> Iterator[Worker]:
    """A worker whose process does not end by itself and which reports progress without a pause."""
    (tmp_path / "log").touch()
    worker = Worker(tmp_path / "log")
    worker._process = subprocess.Popen(
        [sys.executable, "-c", IGNORES], stdin=subprocess.PIPE, text=True, start_new_session=True
    )
    over = threading.Event()

    def talk() -> None:
        while not over.wait(0.0005):
            for _ in range(50):
                worker._events.put({"event": "progress"})

    talking = threading.Thread(target=talk)
    talking.start()
    yield worker
    over.set()
    talking.join()
    worker.close()


def test_it_is_ended_when_its_grace_is_over(chatterer: Worker) -> None:
    began = time.monotonic()
    chatterer.stop(grace=0.3)
    assert 0.3 <= time.monotonic() - began < 5
    assert chatterer._process is None


def test_it_runs_into_the_timeout_of_its_job(chatterer: Worker) -> None:
    began = time.monotonic()
    answer = chatterer.ask({"stage": "train"}, timeout=0.3)
    assert time.monotonic() - began < 5
    assert isinstance(answer, Failed)
    assert answer.kind == "timeout"


def test_a_file_that_is_no_interpreter_is_told_and_no_error_of_ours(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("print()\n")
    for mode, said in ((0o644, "is a file that may not be executed: chmod +x it"), (0o755, "Exec format error")):
        python.chmod(mode)
        answer = Worker(tmp_path / "log", python=str(python)).ask({"stage": "audit"}, 5)
        assert isinstance(answer, Failed)
        assert answer.kind == "start"
        assert said in answer.message
