"""`--data`: which rows it finds, what it says where it finds none, and what it does not import; live data sets."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, DatasetDict
from support import run

import modelcheck
from modelcheck import UsageError, tiny
from modelcheck.checks.dataset import bad_row, empty_answer, eval_row_in_train, no_answer
from modelcheck.dataset.splits import open_data
from modelcheck.testing import write_overlay

ROWS = tiny.rows("train.jsonl")
EMPTY = {"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": ""}]}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_overlay(tmp_path_factory.mktemp("data") / "tiny", {})


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_file_is_training_rows(tmp_path: Path, checkpoint: Path) -> None:
    data = write(tmp_path / "rows.jsonl", [*ROWS, EMPTY])
    result = run("lint", str(checkpoint), "--data", str(data))
    assert result.code == 1
    assert "DAT004" in result.stdout
    assert f"{data}" in result.stdout
    missing = run("lint", str(checkpoint), "--data", str(tmp_path / "none.jsonl"))
    assert (missing.code, missing.stdout, missing.stderr.count("\n")) == (2, "", 1)


@pytest.mark.parametrize("name", ["eval.jsonl", "validation.json", "test.jsonl"])
def test_a_folder_holds_training_and_evaluation_rows(tmp_path: Path, checkpoint: Path, name: str) -> None:
    write(tmp_path / "train.jsonl", ROWS)
    write(tmp_path / name, ROWS[:1])
    [report] = modelcheck.lint(checkpoint, data=tmp_path)
    assert {f.slug for f in report.findings} == {"eval-row-in-train"}


def test_a_folder_that_datasets_saved(tmp_path: Path, checkpoint: Path) -> None:
    DatasetDict(train=Dataset.from_list(ROWS), test=Dataset.from_list(ROWS[:1])).save_to_disk(str(tmp_path / "d"))
    [report] = modelcheck.lint(checkpoint, data=tmp_path / "d")
    assert {f.slug for f in report.findings} == {"eval-row-in-train"}
    Dataset.from_list(ROWS).save_to_disk(str(tmp_path / "s"))
    assert list(open_data(str(tmp_path / "s"))) == ["train"]


NOTHING = {
    "no such file": ("none.jsonl", "No such file"),
    "an empty folder": ("empty", "is no folder that `datasets` saved"),
    "evaluation rows alone": ("alone", "holds eval.jsonl but no training rows"),
    "another kind of file": ("rows.txt", "rows are read from .jsonl"),
}


@pytest.mark.parametrize(("name", "problem"), NOTHING.values(), ids=NOTHING)
def test_data_that_cannot_be_read_is_a_wrong_call(tmp_path: Path, checkpoint: Path, name: str, problem: str) -> None:
    (tmp_path / "empty").mkdir()
    write(tmp_path / "alone" / "eval.jsonl", ROWS)
    write(tmp_path / "rows.txt", ROWS)
    with pytest.raises(UsageError, match=problem):
        modelcheck.lint(checkpoint, data=tmp_path / name)


def test_jsonl_and_csv_need_no_further_package_and_parquet_says_which(tmp_path: Path, checkpoint: Path) -> None:
    write(tmp_path / "rows.jsonl", ROWS)
    (tmp_path / "rows.csv").write_text("prompt,completion\n" + "".join(f"Q{i},A{i}\n" for i in range(12)))
    Dataset.from_list(ROWS).to_parquet(str(tmp_path / "rows.parquet"))
    code = """
import sys
for name in ("datasets", "pyarrow", "pandas", "torch", "transformers"):
    sys.modules[name] = None
import modelcheck
for file in sys.argv[2:]:
    try:
        print(modelcheck.lint(sys.argv[1], data=file).findings)
    except modelcheck.UsageError as error:
        print(error)
"""
    files = [str(tmp_path / f"rows.{kind}") for kind in ("jsonl", "csv", "parquet")]
    done = subprocess.run(
        [sys.executable, "-c", code, str(checkpoint), *files], capture_output=True, text=True, check=True
    )
    *clean, said = done.stdout.splitlines()
    assert clean == ["[]", "[]"]
    assert said == f"{files[2]}: reading it needs the pyarrow package: pip install 'modelcheck[finetune]'"


def test_only_the_first_rows_are_held_and_the_report_says_so(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write(tmp_path / "rows.jsonl", [EMPTY, *ROWS * 4])
    monkeypatch.setattr(sys.modules["modelcheck.facts.dataset"], "MOST_ROWS", 20)
    [finding] = modelcheck.lint(checkpoint, data=data, select=["DAT004"]).findings
    assert finding.message.startswith("1 of the first 20 training rows have an empty answer (row 1)")


def test_the_longest_rows_are_rendered_and_the_report_says_so(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = {"messages": [{"role": "user", "content": "x y " * 400}, {"role": "assistant", "content": "z"}]}
    data = write(tmp_path / "rows.jsonl", [*ROWS, long])
    monkeypatch.setattr(sys.modules["modelcheck.facts.encoded_rows"], "MOST_ENCODED", 5)
    [finding] = modelcheck.lint(checkpoint, data=data, select=["DAT008"]).findings
    assert finding.message.startswith("at least 1 of 13 training rows are longer than the 512 tokens")


class TestLive:
    def test_a_trainers_data_sets(self) -> None:
        assert empty_answer(train_dataset=Dataset.from_list(ROWS)) == []
        assert len(empty_answer(train_dataset=Dataset.from_list([*ROWS, EMPTY]))) == 1
        assert len(eval_row_in_train(train_dataset=ROWS, eval_dataset={"a": ROWS[:1], "b": ROWS[1:2]})) == 1

    def test_a_rule_names_the_data_set_to_pass(self) -> None:
        with pytest.raises(TypeError, match="pass train_dataset="):
            no_answer(eval_dataset=None, tokenizer=Saved())

    @pytest.mark.parametrize("row", [{"input_ids": [1], "labels": [1]}, {"label": 1, "sentence": "x"}])
    def test_rows_for_something_else_are_not_our_matter(self, row: dict[str, Any]) -> None:
        assert bad_row(train_dataset=[row] * 20) == []

    def test_an_iterator_would_be_used_up(self) -> None:
        def rows() -> Iterator[dict[str, Any]]:
            yield from ROWS

        with pytest.raises(UsageError, match="is an iterator: looking at its rows would use them up"):
            bad_row(train_dataset=rows())

    def test_what_cannot_be_iterated_over(self) -> None:
        with pytest.raises(UsageError, match="train_dataset= is a int"):
            bad_row(train_dataset=3)

    def test_no_more_rows_than_needed_are_made(self) -> None:
        made: list[int] = []

        class Endless:
            def __iter__(self) -> Iterator[dict[str, Any]]:
                while True:
                    made.append(1)
                    yield ROWS[0]

        assert empty_answer(train_dataset=Endless()) == []
        assert len(made) < 2000


class Saved:
    """Something like a tokenizer."""

    def save_pretrained(self, folder: str) -> None:
        (Path(folder) / "tokenizer_config.json").write_text("{}")
