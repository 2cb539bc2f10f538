"""Answers are kept by what a model is, not by where it lies."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from finetuning import BASE, TINY
from safetensors.numpy import load_file, save_file

from modelcheck.finetune.data import load
from modelcheck.finetune.evaluation import Evaluation
from modelcheck.finetune.job import Scorer
from modelcheck.finetune.job_file import read_jobs
from modelcheck.finetune.prompts import Prompts
from modelcheck.finetune.stage import Done
from modelcheck.finetune.state import State


class Counting:
    """A worker that knows nothing, and keeps count of what it was asked."""

    def __init__(self) -> None:
        self.versions: Mapping[str, str] = {"transformers": "5"}
        self.asked = 0

    def start(self, _: str) -> None:
        return None

    def ask(self, request: Mapping[str, Any], _: float, hear: Any) -> Done:
        answers = [{"key": key, "ids": [5], "text": "", "finish": "stop"} for key in request["prompts"]]
        self.asked += len(answers)
        hear({"event": "loaded"})
        hear({"event": "batch", "answers": answers, "done": len(answers), "total": len(answers)})
        return Done(None, 0.0)


def changed(folder: Path) -> None:
    """One number of one tensor."""
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"][3] += 1e-3
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


@pytest.fixture
def asked(tmp_path: Path) -> Any:
    """How many answers a worker gives for a folder that nobody had given in the runs before."""
    job = read_jobs(TINY / "modelcheck.toml")["tiny"]
    [suite] = [suite for suite in job.suites if suite.name == "copy"]
    items = load(job).suites["copy"][:5]

    def run(folder: Path, scorer: Scorer = suite.scorer, **columns: Any) -> int:
        worker: Any = Counting()
        rows = [replace(item, fields={**item.fields, **columns}) for item in items]
        with Prompts(folder) as prompts:
            asked = Evaluation(job, replace(suite, scorer=scorer), rows, folder, tmp_path / "cache")
            asked.run(worker, prompts)
        return int(worker.asked)

    return run


def test_the_same_weights_at_another_place_are_not_asked_again(asked: Any, tmp_path: Path) -> None:
    assert asked(BASE) == 5
    assert asked(BASE) == 0
    assert asked(Path(shutil.copytree(BASE, tmp_path / "copied"))) == 0


def test_other_weights_at_the_same_place_are(asked: Any, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(BASE, tmp_path / "model"))
    assert asked(folder) == 5
    changed(folder)
    assert asked(folder) == 5
    shutil.rmtree(folder)
    shutil.copytree(BASE, folder)
    assert asked(folder) == 0


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scorer:
    """A function of the user's, which is given the whole row."""
    (tmp_path / "by_row.py").write_text(
        "def score(answer, reference, row):\n    return float(row.get('want') == 'much')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return Scorer("python", {"function": "by_row:score"})


def test_rows_with_other_columns_are_scored_again_by_what_reads_them(asked: Any, own: Scorer) -> None:
    """`exact` and its like know prompt and reference alone."""
    assert asked(BASE, own, want="much") == 5
    assert asked(BASE, own, want="much") == 0
    assert asked(BASE, own, want="little") == 5
    assert [asked(BASE, want=want) for want in ("much", "little")] == [5, 0]


def test_a_column_of_objects_is_the_same_in_every_run(asked: Any, own: Scorer) -> None:
    pictures = object(), object()
    assert [asked(BASE, own, picture=picture) for picture in pictures] == [5, 0]


@pytest.mark.parametrize("left", ["", '{"event": "loa', "[]", None], ids=["empty", "torn", "a list", "nothing"])
def test_answers_of_which_nobody_knows_what_was_loaded_are_asked_for_again(
    asked: Any, tmp_path: Path, left: str | None
) -> None:
    assert asked(BASE) == 5
    [loaded] = (tmp_path / "cache").glob("*/loaded.json")
    loaded.unlink()
    if left is not None:
        loaded.write_text(left)
    assert asked(BASE) == 5
    assert asked(BASE) == 0


@pytest.mark.parametrize(
    "left", ['{"audit": 3}', '{"audit": {"inputs": "x"}}', '{"audit": {"inputs": "x", "result": 3}}', "[]", '{"aud']
)
def test_a_state_of_another_shape_is_made_again(tmp_path: Path, left: str) -> None:
    (tmp_path / "state.json").write_text(left)
    state = State(tmp_path)
    assert state.kept("audit") == {}
    assert state.result("audit", {}, lambda: {"made": 1}) == {"made": 1}
    assert state.kept("audit") == {"made": 1}
