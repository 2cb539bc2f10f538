"""The processes of workers: how they start, what they say of themselves, and how they end."""

from __future__ import annotations

import time
from pathlib import Path

from finetuning import conversations, recipe

from modelcheck.finetune.stage import Failed, Worker


def test_an_interpreter_that_is_not_there_is_named(tmp_path: Path) -> None:
    answer = Worker(tmp_path / "log", python="/no/such/python").ask({"stage": "audit"}, 5)
    assert isinstance(answer, Failed)
    assert answer.kind == "start"
    assert "python = '/no/such/python' is no interpreter" in answer.message


def test_a_module_that_the_interpreter_lacks_is_named_by_the_stage_that_needs_it(tmp_path: Path) -> None:
    (tmp_path / "transformers.py").write_text("raise ModuleNotFoundError(\"No module named 'transformers'\")")
    with Worker(tmp_path / "log", env={"PYTHONPATH": str(tmp_path)}, preload=("transformers", "json")) as worker:
        worker.expect()  # an interpreter for one stage may well lack what another needs
        lacking = worker.ask(
            {"stage": "audit", "recipe": recipe(tmp_path, conversations("train", 8)).plain(), "out": str(tmp_path)}, 60
        )
        other = worker.ask({"stage": "no such stage"}, 60)
    assert isinstance(lacking, Failed)
    assert "No module named 'transformers'): install modelcheck[finetune]" in lacking.message
    assert isinstance(other, Failed)
    assert "KeyError: 'no such stage'" in other.message


def test_no_secret_stays_in_what_a_worker_said(tmp_path: Path) -> None:
    (tmp_path / "leaky.py").write_text("import os; raise ValueError('told ' + os.environ['HF_TOKEN'])")
    env = {"PYTHONPATH": str(tmp_path), "HF_TOKEN": "hf_not-to-be-seen"}
    with Worker(tmp_path / "log", env=env, preload=("leaky",)) as worker:
        answer = worker.ask({"stage": "no such stage"}, 60)
    assert isinstance(answer, Failed)
    assert "ValueError: told (hidden)" in str(answer)
    assert "not-to-be-seen" not in str(answer) + (tmp_path / "log").read_text()
    assert "ValueError: told (hidden)" in (tmp_path / "log").read_text()


def test_a_worker_that_is_to_be_asked_imports_before(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(f"import pathlib; pathlib.Path({str(tmp_path / 'there')!r}).touch()")
    with Worker(tmp_path / "log", env={"PYTHONPATH": str(tmp_path)}, preload=("slow",)) as worker:
        worker.expect()
        while not (tmp_path / "there").exists():
            time.sleep(0.01)
        assert worker._process


def test_a_worker_that_nobody_asked_after_all_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "endless.py").write_text("import time; time.sleep(60)")
    worker = Worker(tmp_path / "log", env={"PYTHONPATH": str(tmp_path)}, preload=("endless",))
    worker.expect()
    began = time.monotonic()
    worker.close()
    assert time.monotonic() - began < 5
