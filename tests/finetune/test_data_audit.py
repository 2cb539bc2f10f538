"""A job's rows under the rules on data sets: severity by the job, the mirror exempt, every row looked at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from modelcheck import tiny
from modelcheck.finding import Finding
from modelcheck.finetune.data import load
from modelcheck.finetune.data_audit import audit
from modelcheck.finetune.job import Job, Scorer, Suite
from modelcheck.finetune.job_rows import Data, Leakage, Mirror, Replay, Rows
from modelcheck.testing import write_overlay

TRAIN = tiny.rows("train.jsonl")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_overlay(tmp_path_factory.mktemp("audit") / "base", {})


def rows(path: Path, content: list[dict[str, Any]]) -> Rows:
    path.write_text("".join(json.dumps(row) + "\n" for row in content))
    return Rows(path)


def findings(base: Path, data: Data, *suites: Suite) -> list[Finding]:
    job = Job("tiny", Path("modelcheck.toml"), 1, str(base), data, suites)
    report = audit(job, load(job), base)
    assert report.internal == []
    return report.findings


def test_a_healthy_job_and_its_mirror(tmp_path: Path, base: Path) -> None:
    train, held_out = rows(tmp_path / "t.jsonl", TRAIN), rows(tmp_path / "e.jsonl", tiny.rows("eval.jsonl"))
    mirrored = Suite("seen", "guard", "mirror", Scorer("exact"), margin=0.1)
    assert findings(base, Data(train, held_out, Mirror(5)), mirrored) == []


@pytest.mark.parametrize(("action", "expected"), [("error", ["error"]), ("warn", ["warning"]), ("off", [])])
def test_a_leak_is_as_bad_as_the_job_says(tmp_path: Path, base: Path, action: str, expected: list[str]) -> None:
    data = Data(rows(tmp_path / "t.jsonl", TRAIN), rows(tmp_path / "e.jsonl", TRAIN[:1]), leakage=Leakage(action))
    assert [str(f.severity) for f in findings(base, data)] == expected


def test_a_leak_into_a_suite_of_its_own(tmp_path: Path, base: Path) -> None:
    suite = Suite("old", "guard", rows(tmp_path / "old.jsonl", TRAIN[3:4]), Scorer("exact"), margin=0.1)
    [finding] = findings(base, Data(rows(tmp_path / "t.jsonl", TRAIN)), suite)
    assert (finding.slug, Path(str(finding.file)).name) == ("eval-row-in-train", "old.jsonl")


def test_overlaps_of_as_many_words_as_the_job_says(tmp_path: Path, base: Path) -> None:
    said = [{"role": "user", "content": "so one two three four five"}, {"role": "assistant", "content": "x"}]
    asked = [{"role": "user", "content": "and one two three four five"}, {"role": "assistant", "content": "y"}]
    train, held_out = [*TRAIN, {"messages": said}], [{"messages": asked}]
    data = Data(rows(tmp_path / "t.jsonl", train), rows(tmp_path / "e.jsonl", held_out), leakage=Leakage("error", 5))
    [finding] = findings(base, data)
    assert "'one two three four five'" in finding.message


@pytest.mark.parametrize(("on_truncate", "severity"), [("error", "error"), ("warn", "warning")])
def test_answers_that_would_be_cut(tmp_path: Path, base: Path, on_truncate: str, severity: str) -> None:
    train = rows(tmp_path / "t.jsonl", TRAIN)
    [finding] = findings(base, Data(train, max_length=46, on_truncate=on_truncate))
    assert "longer than the 46 tokens of data.max_length" in finding.message
    assert str(finding.severity) == severity


def test_replayed_rows_are_no_more_to_learn_from(tmp_path: Path, base: Path) -> None:
    general = [
        {**row, "messages": [{"role": "user", "content": f"{i}"}, row["messages"][-1]]} for i, row in enumerate(TRAIN)
    ]
    for own, told in ((6, ["few-rows"]), (10, [])):
        replay = Replay(rows(tmp_path / "general.jsonl", general), 1.0)
        found = findings(base, Data(rows(tmp_path / "t.jsonl", TRAIN[:own]), replay=replay))
        assert [finding.slug for finding in found] == told
        assert all("there are 6 training rows" in finding.message for finding in found)


def test_rows_are_named_in_their_order_and_with_their_file(tmp_path: Path, base: Path) -> None:
    """Training and replayed rows are mixed by a seed, and their numbers are those of two files."""
    empty = [{"messages": [row["messages"][0], {"role": "assistant", "content": ""}]} for row in TRAIN]
    data = Data(
        rows(tmp_path / "t.jsonl", [*TRAIN[:10], *empty[10:12]]),
        replay=Replay(rows(tmp_path / "general.jsonl", [*empty[:4], *TRAIN[4:12]]), 1.0),
    )
    [finding] = [found for found in findings(base, data) if found.slug == "empty-answer"]
    general = tmp_path / "general.jsonl"
    assert f"(rows 11, 12, rows 1, 2, 3 and 1 more of {general})" in finding.message
    assert (finding.file, finding.at) == (str(tmp_path / "t.jsonl"), "11:1")


def test_the_jobs_own_template_renders_the_rows(tmp_path: Path, base: Path) -> None:
    (tmp_path / "chat.jinja").write_text("{{ raise_exception('no') if messages | length > 2 }}" + tiny.TEMPLATE)
    system = {"role": "system", "content": "x"}
    data = rows(tmp_path / "t.jsonl", [*TRAIN, {"messages": [system, *TRAIN[0]["messages"]]}])
    found = findings(base, Data(data, template=tmp_path / "chat.jinja"))
    assert "row-not-rendered" in {f.slug for f in found}


def chat(question: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


SUMS = [(f"add {n} {n * 7 % 23}", f"is {n + n * 7 % 23}") for n in range(1, 60)]


def test_columns_are_judged_by_the_jobs_own_rows_and_what_its_targets_ask(tmp_path: Path, base: Path) -> None:
    held_out = rows(tmp_path / "e.jsonl", [chat(*pair) for pair in SUMS[40:]])
    own = rows(tmp_path / "t.jsonl", [chat(answer, question) for question, answer in SUMS[:40]])
    general = rows(tmp_path / "g.jsonl", [chat(f"copy sun {n}", f"sun {n}") for n in range(200)])
    swapped = Data(own, held_out, replay=Replay(general, 4.0))
    [finding] = [f for f in findings(base, swapped) if f.slug == "columns-swapped"]
    assert str(finding.severity) == "error"
    assert "of 40 training rows" in finding.message
    # An old skill that is the inverse of the new one.
    inverse = Suite("old", "guard", held_out, Scorer("exact"), margin=0.1)
    assert not [f for f in findings(base, Data(own), inverse) if f.slug == "columns-swapped"]
