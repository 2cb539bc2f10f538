"""A model is loaded once for the requests that follow each other, and given back when another stage is asked."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from finetuning import BASE, GREEDY, conversations

from modelcheck.finetune.prompts import Prompts
from modelcheck.finetune.serving.worker import ServedWorker, Servers
from modelcheck.finetune.stage import Done, Failed, Worker
from modelcheck.finetune.workers import PRELOADED

LIMIT = 240.0


@pytest.fixture(scope="module")
def servers() -> Servers:
    return Servers()


@pytest.fixture(scope="module")
def worker(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    log = tmp_path_factory.mktemp("worker") / "worker.log"
    with ServedWorker(servers, log, preload=PRELOADED[:2]) as started:
        yield started


@pytest.fixture(scope="module")
def prompts() -> dict[str, dict[str, Any]]:
    with Prompts(BASE) as made:
        ids = made.ids(chat[:1] for chat in conversations("guard-copy", 4))
    return {str(number): {"ids": one} for number, one in enumerate(ids)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(BASE, tmp_path / "base"))


def generate(worker: Worker, folder: Path, prompts: Any, keep: str | None) -> Done | Failed:
    request = {"stage": "generate", "folder": str(folder), "dtype": "float32", "gen": GREEDY, "stop_ids": [2]}
    return worker.ask({**request, "engine": {"backend": "transformers"}, "prompts": prompts, "keep": keep}, LIMIT)


def children(worker: Worker) -> list[int]:
    """The forks of a worker."""
    assert worker._process
    pid = worker._process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_what_is_kept_needs_its_files_no_more(worker: Worker, folder: Path, prompts: Any) -> None:
    assert isinstance(generate(worker, folder, prompts, "a"), Done)
    [kept] = children(worker)
    shutil.rmtree(folder)
    again = generate(worker, folder, prompts, "a")
    assert isinstance(again, Done)
    assert again.value["answers"] == len(prompts)
    assert children(worker) == [kept]
    other = generate(worker, folder, prompts, "b")
    assert isinstance(other, Failed)
    assert "cannot be loaded for evaluation" in other.message
    assert children(worker) == []


def test_without_a_word_nothing_is_kept(worker: Worker, folder: Path, prompts: Any) -> None:
    for _ in range(2):
        assert isinstance(generate(worker, folder, prompts, None), Done)
        assert children(worker) == []


def test_another_stage_finds_no_model_beside_it(worker: Worker, folder: Path, prompts: Any) -> None:
    assert isinstance(generate(worker, folder, prompts, "a"), Done)
    [kept] = children(worker)
    assert isinstance(worker.ask({"stage": "no such stage"}, LIMIT), Failed)
    assert kept not in children(worker)


def test_another_worker_finds_no_model_beside_it(
    worker: Worker, servers: Servers, folder: Path, prompts: Any, tmp_path: Path
) -> None:
    assert isinstance(generate(worker, folder, prompts, "a"), Done)
    assert children(worker)
    with ServedWorker(servers, tmp_path / "log") as trainer:
        assert isinstance(trainer.ask({"stage": "no such stage"}, LIMIT), Failed)
        assert children(worker) == []
    assert isinstance(generate(worker, folder, prompts, "a"), Done)


def test_a_kept_model_that_was_killed_is_loaded_again(worker: Worker, folder: Path, prompts: Any) -> None:
    assert isinstance(generate(worker, folder, prompts, "a"), Done)
    [kept] = children(worker)
    os.kill(kept, signal.SIGKILL)
    # Dead with all its threads, so that its end of the pipe is closed.
    while " Z " not in Path(f"/proc/{kept}/stat").read_text() or len([*Path(f"/proc/{kept}/task").iterdir()]) > 1:
        time.sleep(0.01)
    assert isinstance(generate(worker, folder, prompts, "a"), Done)
    assert len(children(worker)) == 1
