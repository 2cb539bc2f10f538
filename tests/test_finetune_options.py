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


def test_a_baseline_is_read_in_the_clusters_of_today(folder: Path) -> None:
    """The columns are named after it was blessed."""
    assert "tiny is kept as v1" in start(folder, "--modelcheck-bless", "v1").stdout
    path = folder / "guard-add.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    more = [{"source": f"s{i}", "kind": "even" if i % 2 == 0 else "odd", "must": i < 3} for i in range(len(rows))]
    path.write_text("".join(json.dumps(row | also) + "\n" for row, also in zip(rows, more, strict=True)))
    columns = 'cluster = "source", slice = "kind", critical = "must"'
    say('data = { path = "guard-add.jsonl"', f'data = {{ {columns}, path = "guard-add.jsonl"')(folder)
    say("[job.tiny.gate]", '[job.tiny.gate]\nbaseline = "v1"')(folder)
    run = start(folder, "-v", "-k", "baseline-add")
    assert verdicts(run) == {"baseline-add": "PASSED"}, run.stdout
    [result] = json.loads((folder / ".modelcheck" / "tiny" / "gate.json").read_text())["results"]
    assert set(result["slices"]) == {"even", "odd"}


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


@pytest.mark.parametrize("lost", ["merged/model.safetensors", "adapter/adapter_model.safetensors"])
def test_a_disk_that_was_cleaned_is_filled_again(folder: Path, lost: str) -> None:
    """From the last checkpoint, where one is left: what comes of it is what was there."""
    [run] = (folder / ".modelcheck" / "tiny").glob("run-*")
    whole = (run / lost).read_bytes()
    (run / lost).write_bytes(whole[: len(whole) // 2])
    done = start(folder, "-v", "-k", "train or artifact or guard")
    assert verdicts(done) == dict.fromkeys(("train", "artifact", "guard-add", "guard-copy"), "PASSED"), done.stdout
    assert "what was trained is not there as it was saved" in done.stdout
    assert (run / lost).read_bytes() == whole


def test_a_mended_config_of_what_was_saved_is_left_alone(folder: Path) -> None:
    [config] = (folder / ".modelcheck" / "tiny").glob("run-*/merged/generation_config.json")
    config.write_text(json.dumps({**json.loads(config.read_text()), "max_length": 100}))
    mended, before = config.read_text(), trained(folder)
    assert verdicts(start(folder, "-v", "-k", "artifact")) == {"artifact": "PASSED"}
    assert (config.read_text(), trained(folder)) == (mended, before)


def test_a_run_whose_log_is_gone_is_no_evidence(folder: Path) -> None:
    [log] = (folder / ".modelcheck" / "tiny").glob("run-*/log.jsonl")
    log.unlink()
    run = start(folder, "-v", "-k", "train")
    assert verdicts(run) == {"train": "WARNED"}
    assert f"{log}: is gone, expected every step of the run" in run.stdout


def test_a_rehearsal_is_judged_by_what_is_allowed_today(folder: Path) -> None:
    """Nothing is rehearsed again for it."""
    state = folder / ".modelcheck" / "tiny" / "state.json"
    before = json.loads(state.read_text())["rehearse"]
    say("max_overfit_gap = 0.15", "max_overfit_gap = 0.15\nmerged_vs_adapter = { max_logit_diff = 0.0 }")(folder)
    strict = start(folder, "-v", "-k", "rehearse")
    assert verdicts(strict) == {"rehearse": "FAILED"}
    assert "the merged model is not the adapter's" in strict.stdout
    say("max_logit_diff = 0.0", "max_logit_diff = 5.0")(folder)
    assert verdicts(start(folder, "-v", "-k", "rehearse")) == {"rehearse": "PASSED"}
    assert json.loads(state.read_text())["rehearse"] == before


def test_a_suite_called_mirror_does_not_stand_for_the_trained_rows(folder: Path) -> None:
    """Half of the new rows are answered wrong. A suite of that name asks them, as the target does."""
    answers = (folder / ".modelcheck" / "tiny" / "tuned" / "last-seed0" / "samples.jsonl").resolve()
    lines = [json.loads(line) for line in answers.read_text().splitlines()]
    for line in lines[::2]:
        line["score"] = 0.0
    answers.write_text("".join(json.dumps(line) + "\n" for line in lines))
    scorer = '{ type = "exact", normalize = ["strip"] }'
    suite = f'[[job.tiny.suite]]\nname = "mirror"\nrole = "floor"\nmin = 0.3\nscorer = {scorer}\n'
    say("[job.tiny.gate]", f"{suite}\n[job.tiny.gate]")(folder)
    run = start(folder, "-v", "-k", "floor-mirror or overfit")
    assert verdicts(run) == {"floor-mirror": "PASSED", "overfit": "FAILED"}, run.stdout
    assert "+0.500" in run.stdout


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
