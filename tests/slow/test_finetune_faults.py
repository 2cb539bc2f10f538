"""Whole runs on the tiny base: healthy seeds, and faults planted in the job or in the interpreter of the stage."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from finetuning import BASE, GREEDY, PRELOAD, conversations, recipe

from modelcheck.finetune.evidence import evidence
from modelcheck.finetune.prompts import Prompts
from modelcheck.finetune.recipe import Recipe
from modelcheck.finetune.stage import Done, Failed, Worker
from modelcheck.testing import lint_overlay

pytestmark = pytest.mark.slow
LIMIT = 1200.0
SUITES = ("guard-add", "guard-copy", "eval")


def mixed() -> list[Any]:
    rows = conversations("train") + conversations("replay")
    random.Random(0).shuffle(rows)
    return rows


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    with Worker(tmp_path_factory.mktemp("worker") / "worker.log", preload=PRELOAD) as started:
        yield started


def asked(worker: Worker, stage: str, hear: Any = lambda _: None, **request: Any) -> Any:
    answer = worker.ask({"stage": stage, **request}, LIMIT, hear)
    assert isinstance(answer, Done), str(answer)
    return answer.value


def scores(worker: Worker, folder: Path) -> dict[str, float]:
    """{suite: share of right answers}, and `stop`: the share of answers that end by themselves."""
    items = {f"{name}:{i}": chat for name in SUITES for i, chat in enumerate(conversations(name))}
    with Prompts(BASE) as made:
        prompts = dict(zip(items, made.ids(chat[:1] for chat in items.values()), strict=True))
    answers: dict[str, Any] = {}

    def hear(event: Mapping[str, Any]) -> None:
        if event["event"] == "batch":
            answers.update({answer["key"]: answer for answer in event["answers"]})

    request = {"folder": str(folder), "dtype": "float32", "gen": GREEDY, "stop_ids": [2], "batch_size": "auto"}
    asked(worker, "generate", hear, prompts=prompts, **request)
    right = {key: answers[key]["text"] == chat[1]["content"] for key, chat in items.items()}
    found = {name: sum(v for k, v in right.items() if k.startswith(f"{name}:")) / 100 for name in SUITES}
    return found | {"stop": sum(answer["finish"] == "stop" for answer in answers.values()) / len(answers)}


def run(worker: Worker, folder: Path, rows: list[Any], **changes: Any) -> tuple[Recipe, Any]:
    made = recipe(folder, rows, **{"epochs": 3.0, "batch": 32, **changes})
    return made, asked(worker, "train", recipe=made.plain())


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_a_healthy_run_learns_and_forgets_nothing(
    seed: int, worker: Worker, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    made, result = run(worker, tmp_path, mixed(), seed=seed)
    found = scores(worker, made.merged)
    record_property("figure", f"tiny job, seed {seed}: {found}; seconds {result['seconds']}")
    assert found["guard-add"] >= 0.97
    assert found["guard-copy"] >= 0.97
    assert found["eval"] >= 0.85
    assert found["stop"] >= 0.99


FAULTS: dict[str, tuple[dict[str, Any], Callable[[], list[Any]], Callable[[dict[str, float]], bool]]] = {
    "no replay: it forgets": ({}, lambda: conversations("train") * 2, lambda s: s["guard-copy"] < 0.9),
    "a learning rate of 0.1": ({"lr": 0.1}, mixed, lambda s: max(s[name] for name in SUITES) < 0.5),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_shows(
    fault: str, worker: Worker, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    changes, rows, shows = FAULTS[fault]
    made, _ = run(worker, tmp_path, rows(), **changes)
    found = scores(worker, made.merged)
    record_property("figure", f"tiny job, {fault}: {found}")
    assert shows(found)


# ------------------------------------------------------------------ faults of the interpreter that a stage runs under

DROPPED_SCHEDULER = """
from torch.optim.lr_scheduler import LambdaLR
real = LambdaLR.__init__
LambdaLR.__init__ = lambda self, optimizer, *args, **kwargs: real(self, optimizer, lambda step: 1.0)
"""
MASKING_COLLATOR = """
import transformers, trl.trainer.sft_trainer as sft
real = sft.SFTTrainer.__init__
def init(self, *args, processing_class=None, **kwargs):
    processing_class.pad_token = processing_class.eos_token
    kwargs["data_collator"] = transformers.DataCollatorForLanguageModeling(processing_class, mlm=False)
    real(self, *args, processing_class=processing_class, **kwargs)
    self.train_dataset = self.train_dataset.remove_columns("labels")
sft.SFTTrainer.__init__ = init
"""
OTHER_BASE = """
import torch, transformers
real = transformers.AutoModelForCausalLM.from_pretrained
def load(*args, **kwargs):
    model = real(*args, **kwargs)
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight += 0.01
    return model
transformers.AutoModelForCausalLM.from_pretrained = load
"""


@pytest.fixture
def planted(tmp_path: Path) -> Iterator[Callable[[str], Worker]]:
    """A worker whose interpreter carries a fault."""
    started: list[Worker] = []

    def start(fault: str) -> Worker:
        (tmp_path / "plant.py").write_text(fault)
        worker = Worker(tmp_path / "log", env={"PYTHONPATH": str(tmp_path)}, preload=(*PRELOAD, "plant"))
        started.append(worker)
        return worker

    yield start
    for worker in started:
        worker.close()


def linted(found: Mapping[str, Any]) -> list[str]:
    [report] = lint_overlay({"training_evidence.json": json.dumps(found)})
    assert report.internal == []
    return [finding.slug for finding in report.findings]


def test_a_dropped_scheduler_is_told_from_the_log(planted: Callable[[str], Worker], tmp_path: Path) -> None:
    made, result = run(planted(DROPPED_SCHEDULER), tmp_path, conversations("train", 64), batch=8)
    assert linted(evidence(trained=result, log=made.log)) == ["learning-rate-not-applied", "warmup-zero"]


def test_a_collator_that_masks_the_end_is_told_before_training(
    planted: Callable[[str], Worker], tmp_path: Path
) -> None:
    made = recipe(tmp_path, conversations("train", 64))
    found = asked(planted(MASKING_COLLATOR), "audit", recipe=made.plain(), out=str(made.out), stop_ids=[2])
    assert linted(evidence(found)) == ["label-without-end", "prompt-in-loss"]


def test_a_trainer_that_loads_another_base_is_stopped(
    worker: Worker, planted: Callable[[str], Worker], tmp_path: Path
) -> None:
    request = {"prompts": {"0": [1, 2]}, "gen": GREEDY, "stop_ids": [2], "batch_size": 1, "dtype": "float32"}
    evaluated = asked(worker, "generate", folder=str(BASE), **request)["loaded"]
    made = recipe(tmp_path, conversations("train", 8))
    answer = planted(OTHER_BASE).ask({"stage": "train", "recipe": made.plain(), "evaluated": evaluated}, LIMIT)
    assert isinstance(answer, Failed)
    assert answer.message.startswith("the trainer loaded another base than was evaluated: weights: evaluated ")


# ------------------------------------------------------------------ death

PARENT = """
import json, sys
from pathlib import Path
from modelcheck.finetune.stage import Worker
request = json.loads(Path(sys.argv[1]).read_text())
print(Worker(Path(sys.argv[2]), preload=sys.argv[3:]).ask(request, 1000, lambda e: print(e["event"], flush=True)))
"""


def test_a_killed_parent_takes_the_stage_with_it_and_the_run_goes_on_later(worker: Worker, tmp_path: Path) -> None:
    made = recipe(tmp_path, conversations("train", 128), epochs=2.0)
    (tmp_path / "request.json").write_text(json.dumps({"stage": "train", "recipe": made.plain()}))
    arguments = [str(tmp_path / "request.json"), str(tmp_path / "log"), *PRELOAD]
    parent = subprocess.Popen([sys.executable, "-c", PARENT, *arguments], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    for _ in range(16):  # loaded, then steps; a checkpoint is written at every tenth of the run
        parent.stdout.readline()
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    time.sleep(1)
    size = made.log.stat().st_size
    time.sleep(2)
    assert made.log.stat().st_size == size  # nobody trains on
    heard: list[Any] = []
    result = asked(worker, "train", heard.append, recipe=made.plain())
    first = next(event["step"] for event in heard if event["event"] == "progress")
    assert 1 < first <= 16
    other = dataclasses.replace(made, out=tmp_path / "other")
    assert asked(worker, "train", recipe=other.plain())["merged_weights"] == result["merged_weights"]
