"""Faults that only a rehearsal or a whole run can tell, and four healthy seeds under the same thresholds."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from browsing import DESK, PHONE, TABLET, Reader, assert_fits, assert_results_shown, keep_pictures, unfold
from planted import REHEARSING, TRAINED, Fault, Results, first_failure, results, say, tiny_job

pytestmark = pytest.mark.slow
# What the right answer to a question of the tiny job is, by its first word.
RIGHT: dict[str, Callable[[list[str]], str]] = {
    "add": lambda words: str(sum(map(int, words))),
    "copy": " ".join,
    "last": lambda words: words[-1],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("planted")


@pytest.fixture(scope="module")
def found(folder: Path) -> Results:
    for name, fault in REHEARSING.items():
        fault.plant(tiny_job(folder / name, name, rows=64))
    for name, fault in TRAINED.items():
        fault.plant(tiny_job(folder / name, name))
    for seed in range(4):
        say("seeds = [0]", f"seeds = [{seed}]")(tiny_job(folder / f"seed{seed}", f"seed{seed}"))
    return results(folder)


@pytest.mark.parametrize("name", [*REHEARSING, *TRAINED])
def test_it_fails_at_the_first_step_that_could_know(
    name: str, found: Results, record_property: Callable[[str, object], None]
) -> None:
    fault: Fault = (REHEARSING | TRAINED)[name]
    step, message = first_failure(found[name])
    record_property("figure", f"{name}: {step}: {message.strip().splitlines()[0]}")
    assert step == fault.item, message
    assert re.search(fault.says, message, re.DOTALL), message


@pytest.mark.parametrize("name", REHEARSING)
def test_no_real_step_was_made(name: str, found: Results, folder: Path) -> None:
    assert found[name]["train"][0] == "skipped"
    assert list((folder / name / ".modelcheck" / name).glob("run-*")) == []


def test_rows_with_a_wrong_answer_are_named(found: Results, folder: Path) -> None:
    _, message = first_failure(found["half-wrong"])
    files = re.findall(r"(train|replay)\.jsonl, row ((?:\d+ \([\d.]+\)(?:, )?)+)", message)
    named = {(file, int(row)) for file, rows in files for row in re.findall(r"(\d+) \(", rows)}
    wrong = []
    for file, row in named:
        asked = json.loads((folder / "half-wrong" / f"{file}.jsonl").read_text().splitlines()[row - 1])
        wrong.append(asked["answer"] != RIGHT[asked["question"].split()[0]](asked["question"].split()[1:]))
    assert wrong == [True] * 5, message


@pytest.mark.parametrize("seed", range(4))
def test_healthy_seeds_pass(seed: int, found: Results, folder: Path) -> None:
    name = f"seed{seed}"
    assert {kind for kind, _ in found[name].values()} == {"passed"}
    document = json.loads((folder / name / ".modelcheck" / name / "gate.json").read_text())
    assert document["consequence"] == "pass"
    assert {result["verdict"] for result in document["results"]} == {"PASS"}


@pytest.mark.parametrize("name", ["seed0", "forgetting"])
def test_its_report_says_in_a_browser_what_gate_json_says(
    name: str, found: Results, folder: Path, reader: Reader, record_property: Callable[[str, object], None]
) -> None:
    made = folder / name / ".modelcheck" / name
    document = json.loads((made / "gate.json").read_text())
    page = reader.open(made / "report.html")
    assert_results_shown(page, document["results"])
    assert page.inner_text(".answer .word") == {"pass": "Passed", "fail": "Failed"}[document["consequence"]]
    unfold(page)
    assert_fits(page, DESK, TABLET, PHONE)
    keep_pictures(reader, made / "report.html", f"job-{name}", record_property)
