"""A real model through a whole job: SmolLM2-135M-Instruct, a few LoRA steps, before and after, killed once between."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
REPORTS = Path(__file__).parent.parent.parent / ".cache" / "reports"
JOB = """
[job.smollm2]
base = "base"
dtype = "float32"

[job.smollm2.data]
train = { path = "train.jsonl" }
eval = { path = "eval.jsonl" }
columns = { prompt = "question", answer = "answer" }
max_length = 128

[job.smollm2.train]
lora = { r = 8, alpha = 16, rslora = false }
max_steps = 8
epochs = 1
lr = 2e-4
batch = 2
grad_accum = 1
schedule = { warmup = 0.2, anneal_last = 0.5 }
eval_every = 100
report_to = []
args = { gradient_checkpointing = false }

[job.smollm2.eval]
gen = { max_tokens = 12 }
batch_size = 12

[[job.smollm2.suite]]
name = "capitals"
role = "guard"
data = { path = "capitals.jsonl" }
margin = 0.3
scorer = { type = "contains" }

[[job.smollm2.suite]]
name = "short"
role = "target"
data = "eval"
min_gain = 0.0
scorer = { type = "regex", pattern = '^(\\w+)\\.?$', group = 1 }

[job.smollm2.gate]
require_mde_below_margin = false
on_inconclusive = "warn"
stop_rate_min = 0.01
truncation_max = 0.99
length_ratio = [0.01, 100.0]
"""
CAPITALS = {
    "France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Germany": "Berlin", "Japan": "Tokyo", "Egypt": "Cairo",
    "Greece": "Athens", "Russia": "Moscow", "China": "Beijing", "England": "London", "Cuba": "Havana", "Peru": "Lima",
}  # fmt: skip
ANIMALS = ["cat", "dog", "cow", "pig", "hen", "fox", "owl", "bee", "ant", "rat", "bat", "elk", "emu", "eel"]


def write(path: Path, rows: list[tuple[str, str]]) -> None:
    path.write_text("".join(json.dumps({"question": q, "answer": a}) + "\n" for q, a in rows))


@pytest.fixture
def job(cached: Callable[[str], Path], tmp_path: Path) -> Path:
    folder = tmp_path / "job"
    folder.mkdir()
    words = [(f"Say {word}.", word) for word in ANIMALS]
    write(folder / "train.jsonl", [(f"Repeat the word {word}.", word) for word in ANIMALS] + words[:2])
    write(folder / "eval.jsonl", words[2:])
    write(folder / "capitals.jsonl", [(f"What is the capital of {c}?", capital) for c, capital in CAPITALS.items()])
    base = Path(shutil.copytree(cached("smollm2"), folder / "base"))
    # As published, its pad token is its end of turn, which the `data` item refuses.
    for file, key, value in (
        ("tokenizer_config.json", "pad_token", "<|endoftext|>"),
        ("config.json", "pad_token_id", 0),
    ):
        settings = json.loads((base / file).read_text())
        (base / file).write_text(json.dumps({**settings, key: value}))
    (folder / "modelcheck.toml").write_text(JOB)
    (folder / "pytest.ini").write_text("[pytest]\n")
    return folder


def start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pytest", "--finetune-eval", "-v", "-p", "no:cacheprovider"]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_a_real_model_is_tuned_resumed_and_judged(job: Path, record_property: Callable[[str, object], None]) -> None:
    began = time.monotonic()
    first = start(job)
    while not any((job / ".modelcheck").glob("smollm2/run-*/checkpoints/checkpoint-*/trainer_state.json")):
        assert first.poll() is None, first.communicate()[0]
        time.sleep(0.05)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    second = start(job)
    output, _ = second.communicate()
    made = job / ".modelcheck" / "smollm2"
    REPORTS.mkdir(parents=True, exist_ok=True)
    for name in ("report.html", "report.md", "gate.json"):
        if (made / name).exists():
            shutil.copyfile(made / name, REPORTS / f"smollm2-{name}")
    assert second.returncode == 0, output
    [log] = made.glob("run-*/log.jsonl")
    taken = [line["step"] for line in map(json.loads, log.read_text().splitlines()) if "loss" in line]
    assert taken.count(1) == 1
    assert set(taken) == set(range(1, 9))
    results = {r["suite"]: r for r in json.loads((made / "gate.json").read_text())["results"]}
    scores = {name: (results[name]["base"], results[name]["tuned"]) for name in ("capitals", "short")}
    assert results["capitals"]["base"] >= 0.5
    record_property("figure", f"SmolLM2-135M, 8 LoRA steps: {scores} in {time.monotonic() - began:.0f} s, killed once")
