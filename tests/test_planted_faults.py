"""Faults that are planted in the job or the checkpoint and told before a step is trained, in one run of pytest."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pages import Page
from planted import BEFORE_TRAINING, FAULTS, Results, first_failure, results, tiny_job

DOCS = Path(__file__).parent.parent / "docs" / "finetune.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("planted")


@pytest.fixture(scope="module")
def found(folder: Path) -> Results:
    for name, fault in BEFORE_TRAINING.items():
        fault.plant(tiny_job(folder / name, name, rows=64))
    return results(folder)


@pytest.mark.parametrize("name", BEFORE_TRAINING)
def test_it_is_told_before_training(name: str, found: Results) -> None:
    fault = BEFORE_TRAINING[name]
    step, message = first_failure(found[name])
    assert step == fault.item, message
    assert re.search(fault.says, message), message
    after = list(found[name])[list(found[name]).index(step) + 1 :]
    assert {found[name][later][0] for later in after} == {"skipped"}


@pytest.mark.parametrize("name", BEFORE_TRAINING)
def test_its_report_says_where_it_stopped(name: str, found: Results, folder: Path) -> None:
    made = folder / name / ".modelcheck" / name
    page = Page((made / "report.html").read_text(encoding="utf-8"))
    assert f"The step {BEFORE_TRAINING[name].item} stopped the job" in page.text
    assert not (made / "gate.json").exists()


def test_the_documentation_names_every_fault_and_its_step() -> None:
    part = DOCS.read_text().partition("## Planted faults")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|", 3)] for line in part.splitlines() if line[:1] == "|"]
    assert {row[0]: row[2] for row in rows[2:]} == {fault.named: f"`{fault.item}`" for fault in FAULTS.values()}
