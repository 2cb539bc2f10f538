"""`pytest --finetune-eval`: one run of the tiny job, and what pytest can do with its items once it is there.

Only the fixture trains; every other test starts from a copy of the folder that it left, and nothing is done twice.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest
from pages import Page, results_shown
from planted import say, tiny_job
from whole_job import STEPS, Finished, start, trained, verdicts


@pytest.fixture
def folder(finished: Finished, tmp_path: Path) -> Path:
    """A copy of the finished job."""
    return Path(shutil.copytree(finished[0], tmp_path / "tiny", symlinks=True))


# ------------------------------------------------------------------ the run itself


def test_the_tiny_job_passes_every_step(finished: Finished, record_property: Callable[[str, object], None]) -> None:
    folder, run = finished
    assert run.returncode == 0, run.stdout + run.stderr
    assert verdicts(run) == dict.fromkeys(STEPS, "PASSED")
    seconds = re.search(r"passed in ([\d.]+)s", run.stdout)
    record_property("figure", f"tiny job: {seconds and seconds[1]} s from nothing to the gate")
    made = folder / ".modelcheck" / "tiny"
    assert {p.name for p in made.iterdir()} >= {
        "config.resolved.toml",
        "env.json",
        "data_report.json",
        "label_preview.html",
        "gate.json",
        "report.html",
        "report.md",
    }
    assert len((made / "base" / "add" / "samples.jsonl").read_text().splitlines()) == 200
    document = json.loads((made / "gate.json").read_text())
    assert document["consequence"] == "pass"
    page = Page((made / "report.html").read_text(encoding="utf-8"))
    shown = results_shown(page)
    assert shown == [{name: result[name] for name in shown[0]} for result in document["results"]]
    assert "All 8 demands are met" in page.text
    assert f"kept in {made / 'report.html'}" in run.stdout
    assert "modelcheck: tiny: pass" in (made / "report.md").read_text().replace("&#58;", ":")
    assert (folder / ".modelcheck" / ".gitignore").read_text() == "*\n"


def test_junit_has_a_case_for_each_step_and_its_figures(finished: Finished) -> None:
    cases = {case.attrib["name"]: case for case in ET.parse(finished[0] / "report.xml").getroot().iter("testcase")}
    assert list(cases) == STEPS
    figures = {p.attrib["name"]: p.attrib["value"] for p in cases["guard-add"].iter("property")}
    assert float(figures["modelcheck add score"]) > -0.05


def test_nothing_is_done_again(folder: Path) -> None:
    before = trained(folder)
    run = start(folder, "-v")
    assert verdicts(run) == dict.fromkeys(STEPS, "PASSED")
    assert trained(folder) == before


def test_answers_that_are_lost_or_scored_otherwise_are_asked_for_alone(folder: Path) -> None:
    job = folder / ".modelcheck" / "tiny"
    copied = (job / "tuned" / "copy-seed0" / "samples.jsonl").resolve()
    whole = copied.read_text()
    copied.write_text(whole[: len(whole) // 2])  # as a kill leaves it: the last line is torn
    before = trained(folder)
    (folder / "own.py").write_text(
        "def score(answer, reference, row):\n    return float(int(answer) == int(reference))"
    )
    say(
        'scorer = { type = "exact", normalize = ["strip"] }\n\n[[job.tiny.suite]]\nname = "copy"',
        'scorer = { type = "python", function = "own:score" }\n\n[[job.tiny.suite]]\nname = "copy"',
    )(folder)
    run = start(folder, "-v", "-k", "guard")
    assert verdicts(run) == {"guard-add": "PASSED", "guard-copy": "PASSED"}, run.stdout
    answers = {line["item"]: line["answer"] for line in map(json.loads, copied.read_text().splitlines())}
    assert answers == {line["item"]: line["answer"] for line in map(json.loads, whole.splitlines())}
    changed = {name for name, _ in set(trained(folder)) ^ set(before)}
    assert len(changed) == 3  # the torn file, and both sides of the suite with another scorer


# ------------------------------------------------------------------ choosing


def test_items_are_chosen_as_any_others(folder: Path) -> None:
    tree = start(folder, "--collect-only", "-q").stdout.splitlines()
    assert tree[: len(STEPS)] == [f"modelcheck.toml::tiny::{step}" for step in STEPS]
    assert verdicts(start(folder, "-v", "modelcheck.toml::tiny::guard-copy")) == {"guard-copy": "PASSED"}
    assert list(verdicts(start(folder, "-v", "-k", "guard or overfit"))) == ["guard-add", "guard-copy", "overfit"]


def test_a_failure_before_the_chosen_items_fails_them(folder: Path) -> None:
    (folder / "guard-add.jsonl").unlink()
    run = start(folder, "-v", "-k", "guard")
    assert (run.returncode, verdicts(run)) == (1, {"guard-add": "FAILED", "guard-copy": "FAILED"})
    assert "preflight failed: " in run.stdout
    both = start(folder, "-v", "-rs", "-k", "guard or preflight")
    assert verdicts(both) == {"preflight": "FAILED", "guard-add": "SKIPPED", "guard-copy": "SKIPPED"}


def test_what_failed_last_is_run_first_and_ends_the_run(folder: Path) -> None:
    say("\nmin = 0.9\n", "\nmax = 0.1\n")(folder)
    run = start(folder, "-v", "-x", "-k", "floor or behaviour")
    assert (run.returncode, verdicts(run)) == (1, {"floor-one-word": "FAILED"})
    assert verdicts(start(folder, "-v", "--lf")) == {"floor-one-word": "FAILED"}


def test_a_rerun_cannot_turn_a_verdict(folder: Path) -> None:
    pytest.importorskip("pytest_rerunfailures")
    say("\nmin = 0.9\n", "\nmax = 0.1\n")(folder)
    before = trained(folder)
    run = start(folder, "-v", "--reruns", "2", "-k", "floor")
    assert run.stdout.count("RERUN ") == 2
    assert verdicts(run)["floor-one-word"] == "FAILED"
    assert trained(folder) == before


def test_two_workers_share_what_is_made_and_report_together(folder: Path) -> None:
    before = trained(folder)
    run = start(folder, "-v", "-n", "2")
    assert run.returncode == 0, run.stdout
    assert run.stdout.count("PASSED") == len(STEPS)
    assert trained(folder) == before
    report = json.loads((folder / ".modelcheck" / "tiny" / "gate.json").read_text())
    assert [r["suite"] for r in report["results"]] == [
        *["last", "add", "copy", "one-word"],
        *["behaviour"] * 3,
        "mirror",
    ]


# ------------------------------------------------------------------ verdicts that are neither


def test_inconclusive_is_a_warning_that_no_filter_makes_an_error(folder: Path) -> None:
    say("margin = 0.05", "margin = 0.028")(folder)
    say('data = { path = "guard-add.jsonl", id = "id" }', 'data = { path = "few.jsonl" }')(folder)
    rows = (folder / "guard-add.jsonl").read_text().splitlines()[:60]
    (folder / "few.jsonl").write_text("\n".join(rows))
    with (folder / "modelcheck.toml").open("a") as file:
        file.write("require_mde_below_margin = false\n")
    run = start(folder, "-v", "-W", "error", "-k", "guard-add", CI="true")
    assert (run.returncode, verdicts(run)) == (0, {"guard-add": "WARNED"})
    assert "INCONCLUSIVE: add score" in run.stdout
    with (folder / "modelcheck.toml").open("a") as file:
        file.write('on_inconclusive = "fail"\n')
    assert verdicts(start(folder, "-v", "-k", "guard-add")) == {"guard-add": "FAILED"}


def test_a_guard_that_can_lose_nothing_is_warned_of_before_training(folder: Path) -> None:
    """It would pass whatever was trained: most often its scorer or its references are wrong."""
    scorer = '{ type = "exact", normalize = ["strip"] }\n\n[[job.tiny.suite]]\nname = "copy"'
    say(f"scorer = {scorer}", f"scorer = {scorer.replace('exact', 'regex').replace('normalize', 'pattern')}")(folder)
    say('pattern = ["strip"]', "pattern = '^never$'")(folder)
    run = start(folder, "-v", "-k", "base-add or base-copy")
    assert verdicts(run) == {"base-add": "WARNED", "base-copy": "PASSED"}, run.stdout
    assert "add: the base scores 0 on all 200 items" in run.stdout


def test_a_few_items_only_are_smoke(folder: Path) -> None:
    say("[job.tiny.eval]\n", "[job.tiny.eval]\nlimit = 4\n")(folder)
    run = start(folder, "-v", "-rs")
    assert run.returncode == 0, run.stdout
    done = verdicts(run)
    assert {step for step in STEPS if done[step] == "SKIPPED"} == set(STEPS[STEPS.index("artifact") + 1 :])
    assert "SMOKE: eval.limit is 4" in run.stdout
    assert json.loads((folder / ".modelcheck" / "tiny" / "gate.json").read_text())["consequence"] == "smoke"


# ------------------------------------------------------------------ one's own assertions

OWN = """
import pytest
from modelcheck.finetune.verdict import Guard, Verdict

@pytest.mark.finetune_eval(job="tiny")
def test_own(modelcheck_job):
    job = modelcheck_job("tiny")
    assert len(job.base["add"]) == len(job.tuned["add"]) == 200
    assert job.outcome("train").verdict == "pass"
    job.assert_no_regression("copy", margin=0.1)
    job.assert_gain("last", 0.5)
    assert len(job.samples) == 600
    assert job.paired("add", Guard(0.1)).verdict is Verdict.PASS
    answers = job.generate(["last sun apple brick", [{"role": "user", "content": "copy lemon sun glass"}]])
    assert answers == ["brick", "lemon sun glass"]
    assert job.tokenizer.decode(job.tokenizer.encode("sun tree")) == "sun tree"
    with pytest.raises(AssertionError, match="FAIL: add score: stayed|FAIL: add score: fell|INCONCLUSIVE|FAIL: add"):
        job.assert_gain("add", 0.5)
"""


def plain(folder: Path) -> str:
    """What a pytest says of one's own test that was not told to run jobs."""
    command = [sys.executable, "-m", "pytest", "-rs", "test_own.py"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout


def test_a_fixture_gives_the_results_to_ones_own_tests(folder: Path) -> None:
    (folder / "test_own.py").write_text(OWN)
    assert "1 passed" in start(folder, "test_own.py").stdout
    said = plain(folder)
    assert "1 skipped" in said
    assert "needs --finetune-eval" in said


def test_a_fixture_without_the_marker_trains_nothing_where_it_was_not_asked_for(tmp_path: Path) -> None:
    folder = tiny_job(tmp_path / "tiny", rows=8)
    (folder / "test_own.py").write_text('def test_own(modelcheck_job):\n    assert modelcheck_job("tiny").base\n')
    said = plain(folder)
    assert "1 skipped" in said
    assert "needs --finetune-eval" in said
    assert not (folder / ".modelcheck").exists()


# ------------------------------------------------------------------ checkpoints


def test_a_checkpoint_has_an_item_for_each_rule(tmp_path: Path) -> None:
    job = tiny_job(tmp_path / "tiny")
    tokenizer = job / "base" / "tokenizer_config.json"
    tokenizer.write_text(json.dumps({**json.loads(tokenizer.read_text()), "pad_token": "<|im_end|>"}))
    command = [sys.executable, "-m", "pytest", "--modelcheck", "-v", "-W", "error", "base"]
    run = subprocess.run(command, cwd=job, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert [step for step, verdict in verdicts(run).items() if verdict == "FAILED"] == ["pad-is-eos"]
    assert "config.json::double-bos PASSED" in run.stdout


# ------------------------------------------------------------------ job files that are wrong


def test_a_wrong_job_file_is_told_with_its_line(tmp_path: Path) -> None:
    job = tiny_job(tmp_path / "tiny")
    say("epochs = 3", 'epochs = "three"')(job)
    began = time.monotonic()
    run = start(job)
    assert run.returncode == 2
    assert re.search(r"modelcheck\.toml:\d+: job\.tiny\.train\.epochs", run.stdout)
    assert time.monotonic() - began < 60
