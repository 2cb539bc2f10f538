"""`modelcheck init-job`: the file it writes is a job that can be read, filled in from checkpoint and data."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict
from support import run

from modelcheck import UsageError, tiny
from modelcheck.finetune.data import load
from modelcheck.finetune.init_job import init_job
from modelcheck.finetune.job import Arm, Job
from modelcheck.finetune.job_file import read_jobs
from modelcheck.testing import write_overlay


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_overlay(tmp_path / "base", {"train.jsonl": ""})
    return tmp_path


def written(folder: Path, data: str) -> tuple[Job, str]:
    path = folder / "rugby.modelcheck.toml"
    path.write_text(init_job(str(folder / "base"), str(folder / data), folder))
    [job] = read_jobs(path).values()
    return job, path.read_text()


def test_a_folder_with_training_and_evaluation_rows(folder: Path) -> None:
    job, text = written(folder, "base/data")
    assert (job.name, job.base, job.dtype) == ("data", str(folder / "base"), "bfloat16")
    assert job.data.eval
    assert (job.suites[0].data, job.suites[0].scorer.type) == ("eval", "exact")
    assert job.data.max_length == 64
    assert "# 12 rows" in text
    rows = load(job)
    assert (len(rows.train), len(rows.eval), len(rows.mirror)) == (12, 2, 3)


def test_the_arm_that_it_shows_is_one(folder: Path) -> None:
    _, text = written(folder, "base/data")
    shown = text.replace("# [[job.data.arm]]", "[[job.data.arm]]").replace('# name = "few', 'name = "few')
    (folder / "modelcheck.toml").write_text(shown.replace("# shots", "shots"))
    [job] = read_jobs(folder / "modelcheck.toml").values()
    assert job.arms == (Arm("few-shot", shots=3),)


def test_a_file_without_evaluation_rows_is_judged_by_the_mirror(folder: Path) -> None:
    job, text = written(folder, "base/data/train.jsonl")
    assert (job.data.eval, job.suites[0].data) == (None, "mirror")
    assert "bring rows that are not in training" in text


def test_splits_that_datasets_saved(folder: Path) -> None:
    rows = Dataset.from_list(tiny.rows("train.jsonl"))
    DatasetDict(train=rows, test=rows.select([0])).save_to_disk(str(folder / "saved"))
    job, _ = written(folder, "saved")
    assert (job.data.train.split, job.data.eval and job.data.eval.split) == ("train", "test")
    assert len(load(job).eval) == 1


def test_columns_that_nobody_knows_are_guessed_and_said_so(folder: Path) -> None:
    rows = [{"id": i, "frage": f"Wer {i}?", "antwort": "Ich."} for i in range(20)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    job, text = written(folder, "rows.jsonl")
    assert job.data.train.columns == {"prompt": "frage", "answer": "antwort"}
    assert "# guessed; the columns are id, frage, antwort" in text
    assert len(load(job).train) == 20


def test_a_header_with_a_newline_stays_in_its_comment(folder: Path) -> None:
    with (folder / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["die\nFrage", "Antwort"], *([f"Wer {i}?", "Ich."] for i in range(20))])
    job, text = written(folder, "rows.csv")
    assert job.data.train.columns == {"prompt": "die\nFrage", "answer": "Antwort"}
    assert "# guessed; the columns are die\\nFrage, Antwort: say" in text


def test_a_folder_without_a_model_is_no_base(folder: Path) -> None:
    result = run("init-job", str(folder), str(folder / "base/data"), "--output", str(folder / "modelcheck.toml"))
    assert (result.code, (folder / "modelcheck.toml").exists()) == (2, False)
    assert f"{folder}: holds no config.json, expected a model" in result.stderr


def test_a_base_without_template_has_no_length(folder: Path) -> None:
    write_overlay(folder / "base", {"tokenizer_config.json": '{"chat_template": null}', "train.jsonl": ""})
    job, text = written(folder, "base/data")
    assert job.data.max_length == 2048
    assert "# not measured: there is no chat template" in text


def test_a_hub_id_goes_to_standard_output(folder: Path) -> None:
    result = run("init-job", "org/model", str(folder / "base/data"), "--output", "-")
    assert (result.code, result.stderr) == (0, "")
    (folder / "modelcheck.toml").write_text(result.stdout)
    [job] = read_jobs(folder / "modelcheck.toml").values()
    assert job.base == "org/model"
    assert any("no commit as revision" in warning for warning in job.moving)


def test_a_file_that_exists_is_not_written(folder: Path) -> None:
    path = folder / "modelcheck.toml"
    path.write_text("mine")
    arguments = ("init-job", str(folder / "base"), str(folder / "base/data"), "--output", str(path))
    result = run(*arguments)
    assert (result.code, path.read_text()) == (2, "mine")
    assert "is there already: name another file, --output NAME.modelcheck.toml" in result.stderr
    path.unlink()
    assert (run(*arguments).code, len(read_jobs(path))) == (0, 1)
    unseen = run(*arguments[:-1], str(folder / "job.toml"))
    assert (unseen.code, (folder / "job.toml").exists()) == (2, False)
    assert "a job file is called modelcheck.toml or NAME.modelcheck.toml" in unseen.stderr


@pytest.mark.parametrize(
    ("content", "problem"),
    [("", "holds no row"), ('{"a": "x"}\n', "no row has two columns of text"), ("{\n", "row 1: is not JSON")],
)
def test_data_that_is_of_no_use(folder: Path, content: str, problem: str) -> None:
    (folder / "rows.jsonl").write_text(content)
    with pytest.raises(UsageError, match=problem):
        init_job(str(folder / "base"), str(folder / "rows.jsonl"), folder)
