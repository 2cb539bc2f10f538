"""A job that is killed in each of its stages, interrupted, or run by two workers: what it did, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from planted import tiny_job

pytestmark = pytest.mark.slow
LIMIT = 600
Made = dict[str, dict[str, tuple[str, float]]]


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--finetune-eval", *options]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, cwd=folder, text=True, **pipes)  # type: ignore[call-overload,no-any-return]


def run(folder: Path, *options: str) -> str:
    process = start(folder, *options)
    output, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, output
    return output


def made(folder: Path) -> Made:
    """{suite and side: {item: (answer, score)}} of a job that has ended."""
    job = folder / ".modelcheck" / "tiny"
    found: Made = {}
    for path in [*job.glob("base/*/samples.jsonl"), *job.glob("tuned/*/samples.jsonl")]:
        samples = [json.loads(line) for line in path.read_text().splitlines()]
        asked = 200 if path.parent.name.startswith(("add", "copy")) else 100
        assert len({sample["item"] for sample in samples}) == len(samples) == asked
        found[str(path.relative_to(job))] = {s["item"]: (s["answer"], s["score"]) for s in samples}
    return found


def steps(folder: Path) -> Counter[int]:
    """How often each step of training was taken."""
    [log] = (folder / ".modelcheck" / "tiny").glob("run-*/log.jsonl")
    lines = map(json.loads, log.read_text().splitlines())
    return Counter(line["step"] for line in lines if "loss" in line)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tiny_job(tmp_path_factory.mktemp("undisturbed") / "tiny")
    run(folder)
    return made(folder)


def state(folder: Path) -> set[str]:
    try:
        return set(json.loads((folder / ".modelcheck" / "tiny" / "state.json").read_text()))
    except FileNotFoundError:
        return set()


def exists(pattern: str) -> Callable[[Path], bool]:
    return lambda folder: any((folder / ".modelcheck").glob(pattern))


# When a stage is at work, as its files tell.
AT_WORK: dict[str, Callable[[Path], bool]] = {
    "audit": exists("tiny/audit"),
    "base": lambda folder: "audit" in state(folder) and exists("cache/*/manifest.json")(folder),
    "rehearse": exists("tiny/rehearsal/rows.jsonl"),
    "train": exists("tiny/run-*/checkpoints/checkpoint-*/trainer_state.json"),
    "artifact": lambda folder: "train-0" in state(folder),
    "tuned": lambda folder: "artifact-0" in state(folder),
}


def wait(process: subprocess.Popen[str], folder: Path, at_work: Callable[[Path], bool]) -> None:
    end = time.monotonic() + LIMIT
    while not at_work(folder):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.01)


def killed(folder: Path, at_work: Callable[[Path], bool], number: signal.Signals) -> tuple[int, str]:
    process = start(folder)
    wait(process, folder, at_work)
    os.kill(process.pid, number)
    output, _ = process.communicate(timeout=LIMIT)
    return process.returncode, output


def test_a_job_that_is_killed_in_each_stage_ends_as_if_it_had_not_been(
    undisturbed: Made, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    folder = tiny_job(tmp_path / "tiny")
    done: set[str] = set()
    for stage, at_work in AT_WORK.items():
        code, output = killed(folder, at_work, signal.SIGKILL)
        assert code == -signal.SIGKILL, f"{stage}: {output}"
        assert done <= state(folder)
        done = state(folder)
    run(folder)
    assert made(folder) == undisturbed
    taken = steps(folder)
    assert set(taken) == set(range(1, 157))
    assert taken[1] == 1
    record_property("figure", f"killed in 6 stages: {taken.total() - 156} of 156 training steps taken again")


def test_an_interrupted_job_goes_on_where_it_was(undisturbed: Made, tmp_path: Path) -> None:
    folder = tiny_job(tmp_path / "tiny")
    code, output = killed(folder, AT_WORK["train"], signal.SIGINT)
    assert code == 2, output
    assert "KeyboardInterrupt" in output
    run(folder)
    assert made(folder) == undisturbed
    assert max(steps(folder).values()) == 1  # it had saved the step at which it was told to stop


def test_two_workers_do_everything_once(undisturbed: Made, tmp_path: Path) -> None:
    folder = tiny_job(tmp_path / "tiny")
    output = run(folder, "-n", "2")
    assert "15 passed" in output
    assert made(folder) == undisturbed
    assert set(steps(folder).values()) == {1}
