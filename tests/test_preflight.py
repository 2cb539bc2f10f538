"""preflight: everything outside is asked before anything is spent, and all that is missing is told in one list."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from datasets import Dataset, DatasetDict
from fakehub import FakeHub
from finetuning import TINY
from planted import say, tiny_job
from support import run

from modelcheck.finetune.job_file import read_jobs
from modelcheck.finetune.lock import ONE_RUN
from modelcheck.finetune.outcome import Outcome
from modelcheck.finetune.run import JobRun
from modelcheck.finetune.state import State
from modelcheck.finetune.workers import Workers

NOWHERE = "http://127.0.0.1:9"
# A scorer beside the job that cannot be imported.
BROKEN = "def score(answer, reference, row):\n    return 1.0\n\nscale = 1 / 0\n"
SUITES = """
[[job.tiny.suite]]
name = "own"
role = "floor"
data = "eval"
min = 0.5
scorer = { type = "python", function = "no_such_module_of_mine:score" }

[[job.tiny.suite]]
name = "broken"
role = "floor"
data = "eval"
min = 0.5
scorer = { type = "python", function = "broken_scorer:score" }

[[job.tiny.suite]]
name = "shape"
role = "floor"
data = { hf = "org/rows" }
min = 0.5
scorer = { type = "json_schema", schema = "gone.json" }

[[job.tiny.suite]]
name = "form"
role = "floor"
data = "eval"
min = 0.5
scorer = { type = "json_schema", schema = "wrong.json" }
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the tiny job, nothing of it wrong, and a hub that nobody reaches."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", NOWHERE)
    return tiny_job(tmp_path / "tiny", rows=64)


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with Workers(ahead=False) as shared:
        yield shared


def preflight(folder: Path, workers: Workers, told: list[str] | None = None) -> Outcome:
    [job] = read_jobs(folder / "modelcheck.toml").values()
    heard: list[str] = [] if told is None else told
    with closing(JobRun(job, workers, tell=heard.append)) as run:
        return run.outcome("preflight")


def with_an_old_trl(folder: Path) -> Path:
    """A folder that makes an interpreter believe it has trl 0.15."""
    info = folder / "old" / "trl-0.15.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: trl\nVersion: 0.15.0\n")
    return info.parent


def test_all_that_is_missing_is_told_in_one_list(
    folder: Path, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    monkeypatch.setattr("modelcheck.finetune.room.shutil.disk_usage", lambda _: SimpleNamespace(free=1 << 20))
    (folder / "train.jsonl").unlink()
    (folder / "base" / "model-2.safetensors").symlink_to(folder / "gone")
    (folder / "broken_scorer.py").write_text(BROKEN)
    (folder / "wrong.json").write_text('{"type": "objekt"}')
    (folder / "python").write_text("#!/bin/sh\n")
    old = with_an_old_trl(folder)
    say("args = { gradient_checkpointing = false }", "")(folder)  # asked of a library, which takes seconds to import
    text = (folder / "modelcheck.toml").read_text()
    text = text.replace("[job.tiny.train]\n", f'[job.tiny.train]\nenv = {{ PYTHONPATH = "{old}" }}\n')
    text = text.replace("[job.tiny.eval]\n", '[job.tiny.eval]\npython = "./python"\n')
    arm = '[[job.tiny.arm]]\nname = "larger"\nmodel = "org/larger"\n'
    (folder / "modelcheck.toml").write_text(f"{text}{SUITES}\n{arm}")
    outcome = preflight(folder, workers)
    assert outcome.stops
    told = outcome.message.splitlines()
    expected = [
        'arm larger: model "org/larger" has no commit as revision',
        f"job.tiny.data.train: {folder / 'train.jsonl'} cannot be read",
        "job.tiny.suite[7].data: the data set 'org/rows' cannot be had from the hub: ",
        "suite own: function: no_such_module_of_mine:score cannot be imported (No module named",
        "suite broken: function: broken_scorer:score cannot be imported (ZeroDivisionError: division by zero",
        "suite shape: schema: ",
        "suite form: schema: $.type: 'objekt' is not valid",
        "0.0 GB free, about 0.3 GB needed",
        f"job.tiny.base: {folder / 'base' / 'model-2.safetensors'} cannot be read",
        "train: its interpreter has trl 0.15.0, expected >=1.16: install modelcheck[finetune]",
        f"eval: python = '{folder / 'python'}' is a file that may not be executed: chmod +x it",
    ]
    found = {part: [line for line in told if part in line] for part in expected}
    assert {part: len(lines) for part, lines in found.items()} == dict.fromkeys(expected, 1), outcome.message
    assert len(told) == len(expected), outcome.message
    assert not (folder / ".modelcheck" / "tiny" / "env.json").exists()


def test_a_job_without_guards_is_warned_and_not_failed(folder: Path, workers: Workers) -> None:
    text = (folder / "modelcheck.toml").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("margin")]
    (folder / "modelcheck.toml").write_text("\n".join(lines).replace('role = "guard"', 'role = "floor"\nmin = 0.1'))
    outcome = preflight(folder, workers)
    assert outcome.verdict == "warn", outcome.message
    assert "no suite is a guard" in outcome.message


def test_who_works_on_the_job_is_told_at_once(folder: Path, workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ONE_RUN, raising=False)  # of the xdist that may run this test
    told: list[str] = []
    with State(folder / ".modelcheck" / "tiny").lock:
        say("args = { gradient_checkpointing = false }", "")(folder)
        assert preflight(folder, workers, told).verdict == "pass"
    [line] = told
    assert "works since" in line


def test_a_file_in_the_place_of_results(folder: Path) -> None:
    (folder / ".modelcheck").write_text("")
    say("[job.tiny.eval]\n", '[job.tiny.eval]\npython = "no-such-python"\n')(folder)
    with Workers() as own:
        outcome = preflight(folder, own)
    where = folder / ".modelcheck"
    first, second = outcome.message.splitlines()
    assert first == f"{where}: is a file, and results are kept in a folder of that name: move it away"
    assert second.startswith("eval: python = 'no-such-python' is no interpreter")


def test_a_full_disk_is_no_error_of_ours(folder: Path, workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(folder / ".modelcheck" / "tiny" / "env.json"))

    say("args = { gradient_checkpointing = false }", "")(folder)
    monkeypatch.setattr("modelcheck.finetune.record.before", full)
    outcome = preflight(folder, workers)
    place = folder / ".modelcheck" / "tiny" / "env.json"
    assert outcome.message == (f"{place}: No space left on device: make room or give access, and run again to go on")


def test_a_misspelt_base_names_what_was_tried_and_what_is_near(folder: Path, workers: Workers) -> None:
    say('base = "base"', 'base = "bsae"')(folder)
    outcome = preflight(folder, workers)
    assert "job.tiny.base: base = 'bsae' is no folder and cannot be fetched: " in outcome.message
    assert f"; nor is there a folder {folder / 'bsae'}; did you mean 'base'?" in outcome.message


def test_what_must_be_fetched_has_room_before_it_is_fetched(
    folder: Path, workers: Workers, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
    template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder / "cache"))
    files = {path.name: path.read_bytes() for path in (folder / "base").iterdir()}
    made = hub.add("org/base", files)
    say('base = "base"', f'base = "org/base"\nrevision = "{made.sha}"')(folder)
    say("args = { gradient_checkpointing = false }", "")(folder)
    with monkeypatch.context() as patch:
        patch.setattr("modelcheck.finetune.room.shutil.disk_usage", lambda _: SimpleNamespace(free=1 << 20))
        outcome = preflight(folder, workers)
    assert f"{folder / 'cache'}" in outcome.message
    assert not [request for request in hub.requests if request.path.endswith(".safetensors") and request.sent]
    outcome = preflight(folder, workers)
    assert outcome.verdict == "pass", outcome.message
    assert list((folder / "cache").rglob("model.safetensors"))


SHAPES: dict[str, Callable[[Path], str]] = {}


def shape(make: Callable[[Path], str]) -> Callable[[Path], str]:
    """A kind of data that `init-job` takes: what makes it, and names it, in a folder."""
    SHAPES[make.__name__.replace("_", " ")] = make
    return make


def written(path: Path, rows: Sequence[Mapping[str, object]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path.name


def questions(name: str, count: int, first: str = "question", last: str = "answer") -> list[dict[str, object]]:
    rows = [json.loads(line) for line in (TINY / f"{name}.jsonl").read_text().splitlines()[:count]]
    return [{first: row["question"], last: row["answer"]} for row in rows]


@shape
def a_folder(folder: Path) -> str:
    (folder / "data").mkdir()
    written(folder / "data" / "train.jsonl", questions("train", 24))
    written(folder / "data" / "eval.jsonl", questions("eval", 12))
    return "data"


@shape
def one_file(folder: Path) -> str:
    return written(folder / "train.jsonl", questions("train", 24))


@shape
def columns_that_are_guessed(folder: Path) -> str:
    return written(folder / "rows.jsonl", questions("train", 24, "frage", "antwort"))


@shape
def splits_that_datasets_saved(folder: Path) -> str:
    rows = {"train": questions("train", 24), "test": questions("eval", 12)}
    DatasetDict({name: Dataset.from_list(found) for name, found in rows.items()}).save_to_disk(str(folder / "saved"))
    return "saved"


@pytest.mark.parametrize("kind", SHAPES)
def test_the_job_that_init_job_writes_passes_preflight_and_data(
    kind: str, folder: Path, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "modelcheck.toml").unlink()
    data = SHAPES[kind](folder)
    made = run("init-job", "base", data)
    assert (made.code, made.stdout) == (0, "")
    assert made.stderr == "wrote modelcheck.toml: read it, then run pytest --finetune-eval .\n"
    [job] = read_jobs(folder / "modelcheck.toml").values()
    with closing(JobRun(job, workers)) as running:
        outcomes = [running.outcome(step) for step in ("preflight", "data")]
    assert [outcome.verdict for outcome in outcomes if outcome.stops] == [], outcomes
    assert outcomes[0].verdict == "warn"  # there is no guard yet


def test_answers_for_which_the_base_has_no_place(folder: Path, workers: Workers) -> None:
    say("max_tokens = 16", "max_tokens = 5000")(folder)
    [job] = read_jobs(folder / "modelcheck.toml").values()
    with closing(JobRun(job, workers)) as running:
        outcome = running.outcome("data")
    assert outcome.message.startswith("suite last: its longest prompt has ")
    limit = f"{folder / 'base'} was made for 128 positions: lower eval.gen.max_tokens"
    assert outcome.message.endswith(f" tokens and eval.gen.max_tokens is 5000, but {limit}")


def test_what_the_trainer_does_not_take_is_told_with_its_line(folder: Path, workers: Workers) -> None:
    """The interpreter's own library says what it takes: this imports it."""
    say(
        "args = { gradient_checkpointing = false }",
        "args = { gradient_chekpointing = false, learning_rate = 1.0, hub_token = 'x' }",
    )(folder)
    line = next(
        i for i, text in enumerate((folder / "modelcheck.toml").read_text().splitlines(), 1) if text.startswith("args")
    )
    place = f"{folder / 'modelcheck.toml'}:{line}: job.tiny.train.args"
    assert preflight(folder, workers).message.splitlines() == [
        f"{place}.gradient_chekpointing: SFTConfig has no such argument; did you mean 'gradient_checkpointing'?",
        f"{place}.learning_rate: is said elsewhere in the job: train.lr",
        f"{place}.hub_token: would be written into every checkpoint: set it in train.env",
    ]
    values = {"optim": '"adamw_trch"', "tf32": "true"}
    for key, value in values.items():
        text = (folder / "modelcheck.toml").read_text().splitlines()
        text[line - 1] = f"args = {{ gradient_checkpointing = false, {key} = {value} }}"
        (folder / "modelcheck.toml").write_text("\n".join(text))
        [said] = preflight(folder, workers).message.splitlines()
        assert said.startswith(f"{place}.{key}: SFTConfig does not take it: "), said
    known = json.loads((folder / ".modelcheck" / "tiny" / "state.json").read_text())
    assert known["arguments"]["result"]["problems"]
