"""Real servers: the tiny job through `transformers serve`; and a whole job with a key that must be found nowhere."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakechat import CHAT, FakeChat, Fault
from planted import tiny_job

from modelcheck.finetune.chat import Endpoint
from modelcheck.finetune.chat.abilities import WORD
from modelcheck.finetune.evaluation import Evaluated
from modelcheck.finetune.job import OpenAi, Serve
from modelcheck.finetune.job_file import read_jobs
from modelcheck.finetune.work import Work
from modelcheck.finetune.workers import Workers

pytestmark = pytest.mark.slow
SERVE = (
    sys.executable, "-m", "transformers.cli.transformers", "serve", "{model}",
    "--host", "127.0.0.1", "--port", "{port}", "--device", "cpu", "--dtype", "float32",
)  # fmt: skip
# Stands behind the generation prompt.
ARGUMENT = "{% if enable_thinking is false %}{{ '\\n' }}{% endif %}"
KEY = "sk-Zq8vQ1-do-not-tell"


def base_runs(workers: Workers, place: Path, **engine: Any) -> dict[str, Evaluated]:
    """{suite: the base's answers} of the tiny job under another engine."""
    [job] = read_jobs(tiny_job(place) / "modelcheck.toml").values()
    template = place / "base" / "chat_template.jinja"
    template.write_text(f"{template.read_text()}{ARGUMENT}")
    told = dataclasses.replace(job.eval, limit=50, template_args={"enable_thinking": False}, **engine)
    job = dataclasses.replace(job, eval=told)
    work = Work(job, workers, lambda _: None)
    try:
        return {suite.name: work.base_run(suite) for suite in job.suites}
    finally:
        work.close()


def answers(runs: dict[str, Evaluated]) -> dict[tuple[str, str], tuple[str, bool]]:
    return {(name, s.item): (s.raw, s.stopped) for name, run in runs.items() for s in run.samples()}


def test_transformers_serve_answers_as_transformers_does(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    server = OpenAi(Endpoint("", "{model}", concurrency=8), Serve(SERVE))
    with Workers() as workers:
        wanted = answers(base_runs(workers, tmp_path / "here"))
        runs = base_runs(workers, tmp_path / "there", backend="openai", openai=server)
    found = answers(runs)
    assert found.keys() == wanted.keys()
    equal = sum(found[key] == wanted[key] for key in wanted)
    record_property("figure", f"transformers serve: {equal} of {len(wanted)} answers are those of transformers")
    assert equal >= 0.99 * len(wanted)
    told = runs["last"].loaded
    # It takes a request for most of them without a word, and heeds arguments of the template alone.
    assert told["abilities"] == {
        "logprobs": False, "json_schema": False, "grammar": False, "token_ids": False, "chat_template_kwargs": True,
    }  # fmt: skip
    assert told["prompts"] == {"sent": "messages", "checked": "lengths"}
    assert "generation_config" in told["pinned"]
    assert "top_k" in told["refused"]
    assert [note for note in told["notes"] if "prompt ids not checked" in note]
    # One server for all suites.
    [log] = [path.read_text() for path in tmp_path.rglob("server.log")]
    assert log.count("Started server process") == 1
    assert log.count("ended with status") == 1


def test_the_key_of_a_server_is_nowhere_in_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", KEY)
    folder = tiny_job(tmp_path / "tiny", rows=64)
    with FakeChat(known=None, key=KEY, answer=lambda body: f"my key is {KEY}") as server:
        busy = Fault(429, json.dumps({"error": {"message": KEY}}), {"retry-after": "0.1"})
        absent = Fault(404)
        server.fault = lambda number, request: (
            absent if WORD in request.body.get("model", "") else busy if number % 50 == 1 else None
        )
        table = f"""
backend = "openai"
openai = {{ base_url = "{server.url}", model = "{{model}}", api_key_env = "SOME_KEY" }}
limit = 20
"""
        good, output = run(folder, table)
        assert len(server.asked(CHAT)) > 160, output
        monkeypatch.setenv("SOME_KEY", KEY[::-1])
        bad, refusal = run(folder, table.replace('"{model}"', '"{model}/other"'))
    assert (good, bad) == (0, 1)  # some items only: nothing is judged
    assert "my key is (hidden)" in "".join(p.read_text() for p in folder.rglob("samples.jsonl"))
    assert "the key in SOME_KEY is not taken: check it" in refusal
    assert (folder / ".modelcheck" / "tiny" / "report.html").exists()
    seen = [output, refusal, *(p.read_bytes().decode(errors="replace") for p in folder.rglob("*") if p.is_file())]
    assert len(seen) > 30
    assert not any(key in text for text in seen for key in (KEY, KEY[::-1]))


def run(folder: Path, table: str) -> tuple[int, str]:
    """The exit status and the output of the tiny job, trained for two steps, under other settings of `eval`."""
    path = folder / "modelcheck.toml"
    settings = (folder / "plain.toml").read_text() if (folder / "plain.toml").exists() else path.read_text()
    (folder / "plain.toml").write_text(settings)
    settings = settings.replace("[job.tiny.eval]\n", f"[job.tiny.eval]\n{table}")
    path.write_text(settings.replace("epochs = 3", "max_steps = 2\nrehearse = false"))
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-v", "--finetune-eval", "--junitxml=report.xml"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr
