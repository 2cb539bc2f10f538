"""What a job can be asked besides its verdicts: arms, baselines, noise, critical items, a judge, and what it keeps.

Every test starts from a copy of the folder of one finished run.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from fakechat import FakeChat
from pages import Page
from planted import say
from test_judge import right, says
from whole_job import SECRET, Finished, start, trained, verdicts

ARMS = """
[[job.tiny.arm]]
name = "few-shot"
system = "Answer with one word."
shots = 2

[[job.tiny.arm]]
name = "twin"
model = "{twin}"
"""


@pytest.fixture
def folder(finished: Finished, tmp_path: Path) -> Path:
    """A copy of the finished job."""
    return Path(shutil.copytree(finished[0], tmp_path / "tiny", symlinks=True))


def test_training_is_held_against_what_needs_none(folder: Path) -> None:
    """So small a model learns nothing from examples; the trained model, as an arm, leaves nothing to be bought."""
    [twin] = (folder / ".modelcheck" / "tiny").glob("run-*/merged")
    with (folder / "modelcheck.toml").open("a") as file:
        file.write(ARMS.format(twin=twin))
    before = trained(folder)
    run = start(folder, "-v", "-W", "error", "-k", "arm or target")
    assert verdicts(run) == {"arm-few-shot": "PASSED", "arm-twin": "WARNED", "target-last": "WARNED"}, run.stdout
    assert re.search(r"training may not be needed: last: the arm twin gains \+[01]\.\d+", run.stdout)
    assert "last vs twin: training bought nothing measurable over the arm twin" in run.stdout
    report = json.loads((folder / ".modelcheck" / "tiny" / "gate.json").read_text())
    found = [(r["metric"], r["verdict"]) for r in report["results"]]
    assert found == [("score", "PASS"), ("vs twin", "INCONCLUSIVE"), ("vs few-shot", "PASS")]
    assert report["consequence"] == "warn"
    # The base and the twin have answered already: only the examples were asked for.
    assert len(trained(folder)) == len(before) + 1
    assert (folder / ".modelcheck" / "tiny" / "arms" / "few-shot" / "last" / "samples.jsonl").is_file()


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
    passed = start(folder, "--modelcheck-bless", "v1")
    assert "tiny is kept as v1" in passed.stdout
    unfinished = start(folder, "-k", "guard", "--modelcheck-bless", "v2")
    assert "tiny is not blessed: " in unfinished.stdout
    assert "overfit did not run" in unfinished.stdout
    assert (passed.returncode, unfinished.returncode) == (0, 1)
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


def test_no_secret_of_the_job_is_kept(finished: Finished) -> None:
    folder, run = finished
    kept = [path for path in folder.rglob("*") if path.is_file() and path.name != "modelcheck.toml"]
    assert [path for path in kept if SECRET.encode() in path.read_bytes()] == []
    assert SECRET not in run.stdout + run.stderr
    resolved = folder / ".modelcheck" / "tiny" / "config.resolved.toml"
    assert resolved.read_text().count('HF_TOKEN = "(hidden)"') == 2
    env = json.loads((folder / ".modelcheck" / "tiny" / "env.json").read_text())
    assert env["stages"]["train"]["trl"]


def test_the_loss_curve_is_in_the_event_files_of_tensorboard(finished: Finished) -> None:
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
