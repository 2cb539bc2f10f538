"""`pytest --finetune-eval`: one run of the tiny job, and what pytest can do with its items once it is there.

Only the fixture trains; every other test starts from a copy of the folder that it left, and nothing is done twice.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest
from fakechat import FakeChat
from pages import Page, results_shown
from planted import say, tiny_job
from test_judge import right, says

STEPS = [
    "preflight",
    "data",
    "base-last",
    "base-add",
    "base-copy",
    "base-one-word",
    "rehearse",
    "train",
    "artifact",
    "target-last",
    "guard-add",
    "guard-copy",
    "floor-one-word",
    "behaviour",
    "overfit",
]
SECRET = "hf_not-to-be-seen-by-anyone"
Start = Callable[..., subprocess.CompletedProcess[str]]


def start(folder: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A pytest of its own over a folder, as a user would start it."""
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = dear\n")
    command = [sys.executable, "-m", "pytest", "--finetune-eval", *options]
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "CI"))}
    return subprocess.run(command, cwd=folder, env=plain | environment, capture_output=True, text=True, check=False)


def verdicts(run: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """{step: PASSED, FAILED, ...} of a verbose run."""
    return dict(re.findall(r"::([\w-]+) (?:<- \S+ )?([A-Z]{5,})", run.stdout))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The tiny job, run once, with a secret in the environment of its stages."""
    folder = tiny_job(tmp_path_factory.mktemp("jobs") / "tiny")
    for stage in ("train", "eval"):
        say(f"[job.tiny.{stage}]\n", f'[job.tiny.{stage}]\nenv = {{ HF_TOKEN = "{SECRET}" }}\n')(folder)
    return folder, start(folder, "-v", "-W", "error", "--junitxml=report.xml")


@pytest.fixture
def folder(finished: tuple[Path, object], tmp_path: Path) -> Path:
    """A copy of the finished job."""
    return Path(shutil.copytree(finished[0], tmp_path / "tiny", symlinks=True))


def trained(folder: Path) -> list[tuple[str, int]]:
    """What a step that is repeated would write again."""
    kept = [p for p in (folder / ".modelcheck").rglob("*") if p.name in ("model.safetensors", "samples.jsonl")]
    return sorted((str(p.relative_to(folder)), p.stat().st_mtime_ns) for p in kept if "rehearsal" not in p.parts)


# ------------------------------------------------------------------ the run itself


def test_the_tiny_job_passes_every_step(
    finished: tuple[Path, subprocess.CompletedProcess[str]], record_property: Callable[[str, object], None]
) -> None:
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
    assert len((made / "base" / "add" / "samples.jsonl").read_text().splitlines()) == 100
    document = json.loads((made / "gate.json").read_text())
    assert document["consequence"] == "pass"
    page = Page((made / "report.html").read_text(encoding="utf-8"))
    shown = results_shown(page)
    assert shown == [{name: result[name] for name in shown[0]} for result in document["results"]]
    assert "All 8 demands are met" in page.text
    assert f"kept in {made / 'report.html'}" in run.stdout
    assert "modelcheck: tiny: pass" in (made / "report.md").read_text().replace("&#58;", ":")
    assert (folder / ".modelcheck" / ".gitignore").read_text() == "*\n"


def test_junit_has_a_case_for_each_step_and_its_figures(finished: tuple[Path, object]) -> None:
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
    say("margin = 0.07", "margin = 0.028")(folder)
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


def test_a_few_items_only_are_smoke(folder: Path) -> None:
    say("[job.tiny.eval]\n", "[job.tiny.eval]\nlimit = 4\n")(folder)
    run = start(folder, "-v", "-rs")
    assert run.returncode == 0, run.stdout
    done = verdicts(run)
    assert {step for step in STEPS if done[step] == "SKIPPED"} == set(STEPS[STEPS.index("artifact") + 1 :])
    assert "SMOKE: eval.limit is 4" in run.stdout
    assert json.loads((folder / ".modelcheck" / "tiny" / "gate.json").read_text())["consequence"] == "smoke"


# ------------------------------------------------------------------ arms

ARMS = """
[[job.tiny.arm]]
name = "few-shot"
system = "Answer with one word."
shots = 2

[[job.tiny.arm]]
name = "twin"
model = "{twin}"
"""


def test_training_is_held_against_what_needs_none(folder: Path) -> None:
    """So small a model learns nothing from examples; the trained model, as an arm, leaves nothing to be bought."""
    [twin] = (folder / ".modelcheck" / "tiny").glob("run-*/merged")
    with (folder / "modelcheck.toml").open("a") as file:
        file.write(ARMS.format(twin=twin))
    before = trained(folder)
    run = start(folder, "-v", "-W", "error", "-k", "arm or target")
    assert verdicts(run) == {"arm-few-shot": "PASSED", "arm-twin": "WARNED", "target-last": "WARNED"}, run.stdout
    assert re.search(r"training may not be needed: last: the arm twin gains \+0\.\d+", run.stdout)
    assert "last vs twin: training bought nothing measurable over the arm twin" in run.stdout
    report = json.loads((folder / ".modelcheck" / "tiny" / "gate.json").read_text())
    found = [(r["metric"], r["verdict"]) for r in report["results"]]
    assert found == [("score", "PASS"), ("vs twin", "INCONCLUSIVE"), ("vs few-shot", "PASS")]
    assert report["consequence"] == "warn"
    # The base and the twin have answered already: only the examples were asked for.
    assert len(trained(folder)) == len(before) + 1
    assert (folder / ".modelcheck" / "tiny" / "arms" / "few-shot" / "last" / "samples.jsonl").is_file()


# ------------------------------------------------------------------ baselines and critical items


def test_a_blessed_run_is_what_later_ones_are_held_against(folder: Path) -> None:
    with (folder / "modelcheck.toml").open("a") as file:
        file.write('baseline = "v1"\n')
    missing = start(folder, "-v", "-k", "preflight")
    assert verdicts(missing) == {"preflight": "FAILED"}
    assert "--modelcheck-bless v1" in missing.stdout
    made = folder / ".modelcheck" / "tiny"
    assert "The step preflight failed: gate.baseline" in Page((made / "report.html").read_text(encoding="utf-8")).text
    assert not (made / "gate.json").exists()  # what an earlier run found is no verdict on this one
    say('baseline = "v1"\n', "")(folder)
    assert "tiny is kept as v1" in start(folder, "--modelcheck-bless", "v1").stdout
    assert "overfit did not run" in start(folder, "-k", "guard", "--modelcheck-bless", "v2").stdout
    with (folder / "modelcheck.toml").open("a") as file:
        file.write('baseline = "v1"\n')
    held = verdicts(start(folder, "-v", "-k", "baseline"))
    assert held == {f"baseline-{suite}": "PASSED" for suite in ("last", "add", "copy", "one-word")}
    blessed = folder / ".modelcheck" / "baselines" / "v1" / "tiny" / "add" / "manifest.json"
    blessed.write_text(json.dumps({**json.loads(blessed.read_text()), "scorer": {"type": "contains"}}))
    other = start(folder, "-v", "-k", "baseline-add")
    assert verdicts(other) == {"baseline-add": "FAILED"}
    assert "scorer.type: 'contains' in base, 'exact' in tuned" in other.stdout


def test_one_critical_item_lost_fails_a_suite_whose_mean_passes(folder: Path) -> None:
    """The column is named after the answers were given, and nothing is asked again."""
    before = trained(folder)
    path = folder / "guard-copy.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({**row, "must": i == 7}) + "\n" for i, row in enumerate(rows)))
    say('data = { path = "guard-copy.jsonl"', 'data = { critical = "must", path = "guard-copy.jsonl"')(folder)
    assert verdicts(start(folder, "-v", "-k", "guard-copy")) == {"guard-copy": "PASSED"}
    assert trained(folder) == before
    answers = (folder / ".modelcheck" / "tiny" / "tuned" / "copy-seed0" / "samples.jsonl").resolve()
    lost = [json.loads(line) for line in answers.read_text().splitlines()]
    [critical] = [line for line in lost if line["prompt"] == rows[7]["question"]]
    critical |= {"answer": "something else", "score": 0.0}
    answers.write_text("".join(json.dumps(line) + "\n" for line in lost))
    run = start(folder, "-v", "-k", "guard-copy")
    assert verdicts(run) == {"guard-copy": "FAILED"}
    assert "1 critical item lost, none may be" in run.stdout


# ------------------------------------------------------------------ the evaluator itself


def test_the_base_is_evaluated_twice_on_demand(folder: Path) -> None:
    run = start(folder, "-v", "--modelcheck-aa", "-k", "aa-copy")
    assert verdicts(run) == {"aa-copy": "PASSED"}, run.stdout
    caches = (folder / ".modelcheck" / "cache").iterdir()
    drawn = [c / "samples.jsonl" for c in caches if '"seed": 1' in (c / "manifest.json").read_text()]
    [again] = [path for path in drawn if '"prompt":"copy ' in path.read_text()]
    unstable = [json.loads(line) for line in again.read_text().splitlines()]
    for line in unstable[:12]:
        line["score"] = 0.0
    again.write_text("".join(json.dumps(line) + "\n" for line in unstable))
    run = start(folder, "-v", "--modelcheck-aa", "-k", "aa-copy or guard-copy")
    assert verdicts(run) == {"aa-copy": "FAILED", "guard-copy": "SKIPPED"}
    assert "the evaluator moves the score, not a model" in run.stdout


# ------------------------------------------------------------------ what is kept


def test_no_secret_of_the_job_is_kept(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, run = finished
    kept = [path for path in folder.rglob("*") if path.is_file() and path.name != "modelcheck.toml"]
    assert [path for path in kept if SECRET.encode() in path.read_bytes()] == []
    assert SECRET not in run.stdout + run.stderr
    resolved = folder / ".modelcheck" / "tiny" / "config.resolved.toml"
    assert resolved.read_text().count('HF_TOKEN = "(hidden)"') == 2
    env = json.loads((folder / ".modelcheck" / "tiny" / "env.json").read_text())
    assert env["stages"]["train"]["trl"]


def test_the_loss_curve_is_in_the_event_files_of_tensorboard(finished: tuple[Path, object]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    [run] = (finished[0] / ".modelcheck" / "tiny").glob("run-*")
    [events] = {path.parent for path in run.rglob("events.out.tfevents.*")}
    curves = EventAccumulator(str(events)).Reload()
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    for tag, name in (("train/loss", "loss"), ("eval/loss", "eval_loss"), ("train/learning_rate", "lr")):
        drawn = {point.step: point.value for point in curves.Scalars(tag)}
        logged = {line["step"]: line[name] for line in lines if name in line}
        assert drawn == pytest.approx({step: value[0] if name == "lr" else value for step, value in logged.items()})
    assert len(curves.Scalars("train/loss")) == 156


# ------------------------------------------------------------------ a judge


def test_a_judge_scores_a_suite_and_its_key_is_nowhere(folder: Path) -> None:
    key = "sk-Jd7whole-job-do-not-tell"
    with FakeChat(key=key) as server:
        # It also repeats the key, as a hostile or careless server may.
        server.answer = lambda body: says(right(body), f"told with {key}")
        say(
            'scorer = { type = "exact", normalize = ["strip"] }\n\n[[job.tiny.suite]]\nname = "one-word"',
            f'scorer = {{ type = "judge", base_url = "{server.url}", model = "tiny", '
            'api_key_env = "JUDGE_KEY", calibration = "gold.jsonl" }\n\n[[job.tiny.suite]]\nname = "one-word"',
        )(folder)
        gold = {"question": "copy sun", "reference": "sun", "answer": "sun", "verdict": "yes"}
        (folder / "gold.jsonl").write_text(json.dumps(gold))
        run = start(folder, "-v", "-k", "preflight or copy", JUDGE_KEY=key)
    assert verdicts(run) == {"preflight": "PASSED", "base-copy": "PASSED", "guard-copy": "PASSED"}, run.stdout
    report = json.loads((folder / ".modelcheck" / "tiny" / "gate.json").read_text())
    assert [r["suite"] for r in report["results"]] == ["copy"]
    written = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert b"told with (hidden)" in (folder / ".modelcheck" / "tiny" / "base" / "copy" / "samples.jsonl").read_bytes()
    assert [path for path in written if key.encode() in path.read_bytes()] == []
    assert key not in run.stdout + run.stderr


# ------------------------------------------------------------------ one's own assertions

OWN = """
import pytest
from modelcheck.finetune.verdict import Guard, Verdict

@pytest.mark.finetune_eval(job="tiny")
def test_own(modelcheck_job):
    job = modelcheck_job("tiny")
    assert len(job.base["add"]) == len(job.tuned["add"]) == 100
    assert job.outcome("train").verdict == "pass"
    job.assert_no_regression("copy", margin=0.1)
    job.assert_gain("last", 0.5)
    assert len(job.samples) == 400
    assert job.paired("add", Guard(0.1)).verdict is Verdict.PASS
    answers = job.generate(["last sun apple brick", [{"role": "user", "content": "copy lemon sun glass"}]])
    assert answers == ["brick", "lemon sun glass"]
    assert job.tokenizer.decode(job.tokenizer.encode("sun tree")) == "sun tree"
    with pytest.raises(AssertionError, match="FAIL: add score: stayed|FAIL: add score: fell|INCONCLUSIVE|FAIL: add"):
        job.assert_gain("add", 0.5)
"""


def test_a_fixture_gives_the_results_to_ones_own_tests(folder: Path) -> None:
    (folder / "test_own.py").write_text(OWN)
    assert "1 passed" in start(folder, "test_own.py").stdout
    plain = subprocess.run(
        [sys.executable, "-m", "pytest", "-rs", "test_own.py"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert "1 skipped" in plain.stdout
    assert "needs --finetune-eval" in plain.stdout


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
