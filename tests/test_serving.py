"""Servers that a job starts for its evaluation: awaited, shared, named when they fail, and gone with whoever asked."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from finetuning import BASE

from modelcheck.errors import UsageError
from modelcheck.finetune import preflight, worker
from modelcheck.finetune.chat import ChatError
from modelcheck.finetune.job_file import read_jobs
from modelcheck.finetune.resolved import toml
from modelcheck.finetune.serving import settings
from modelcheck.finetune.serving.server import Command, Server
from modelcheck.finetune.serving.worker import Servers

KEY = "sk-Zq8vQ1-do-not-tell"
PROGRAM = """
import http.server, os, subprocess, sys
port, place = int(sys.argv[1]), sys.argv[2]
states = {"/health": HEALTH, "/v1/models": MODELS}
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with open(place + "/pids", "a") as file:
    file.write(f"{os.getpid()} {child.pid} ")
print("my key is", os.environ.get("SOME_KEY"), "and my model", sys.argv[3], flush=True)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(states.get(self.path, 404))
        self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


def program(place: Path, health: int = 200, models: int = 200, text: str = PROGRAM) -> list[str]:
    """The words of a server that notes its processes in `place`/pids."""
    file = place / "server.py"
    file.write_text(text.replace("HEALTH", str(health)).replace("MODELS", str(models)))
    return [sys.executable, str(file), "{port}", str(place), "{model}"]


def started(place: Path, words: list[str], **settings: Any) -> Server:
    return Server(Command(words, **settings), "the-model", place / "logs" / "server.log", os.environ)


def pids(place: Path) -> list[int]:
    return [int(word) for word in (place / "pids").read_text().split()]


def gone(processes: list[int], within: float = 20.0) -> bool:
    """Whether none of them runs any more; what is dead and not yet waited for does not run."""
    deadline = time.monotonic() + within
    while any(map(_runs, processes)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _runs(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


# ------------------------------------------------------------------ one server


@pytest.mark.parametrize(("health", "models"), [(200, 500), (404, 200), (404, 404), (404, 500)])
def test_a_server_is_ready_when_either_path_says_so(tmp_path: Path, health: int, models: int) -> None:
    with started(tmp_path, program(tmp_path, health, models), timeout=20.0) as server:
        assert server.alive
        assert re.fullmatch(r"http://127.0.0.1:[0-9]+/v1", server.url)
    assert gone(pids(tmp_path))


def test_a_server_ends_with_what_it_started_and_its_log_holds_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", KEY)
    with started(tmp_path, program(tmp_path), key_env="SOME_KEY") as server:
        assert "my key is (hidden) and my model the-model" in server.tail()
    assert gone(pids(tmp_path))
    assert KEY not in server.log.read_text()


def test_a_server_does_not_outlive_who_asked_for_it(tmp_path: Path) -> None:
    source = f"""
        import os, sys, time
        from pathlib import Path
        from modelcheck.finetune.serving.server import Command, Server
        server = Server(Command({program(tmp_path)!r}), "m", Path({str(tmp_path)!r}, "log"), os.environ)
        print("ready", flush=True)
        time.sleep(600)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(source)], stdout=subprocess.PIPE) as asking:
        assert asking.stdout
        assert asking.stdout.readline() == b"ready\n"
        asking.send_signal(signal.SIGKILL)
    assert len(pids(tmp_path)) == 2
    assert gone(pids(tmp_path))


def refused(place: Path, words: list[str], **settings: Any) -> str:
    with pytest.raises(ChatError) as raised:
        started(place, words, **settings)
    return str(raised.value)


def test_a_server_that_ends_is_shown_with_its_last_words(tmp_path: Path) -> None:
    words = program(tmp_path, text="print('loading'); raise SystemExit('no such architecture')")
    message = refused(tmp_path, words)
    assert message.startswith(f"serve: {sys.executable} {tmp_path}/server.py ")
    assert " ended before it was ready\nthe last it printed" in message
    assert message.endswith("  loading\n  no such architecture\n  [ended with status 1]")


def test_a_server_that_never_gets_ready_is_ended(tmp_path: Path) -> None:
    message = refused(tmp_path, program(tmp_path, health=503), timeout=1.0)
    assert "was not ready after serve_timeout = 1 s: raise it\nthe last it printed" in message
    assert gone(pids(tmp_path))


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert refused(tmp_path, ["no-such-server", "{port}"]) == (
        "serve: 'no-such-server' is no program: name one that is there"
    )


# ------------------------------------------------------------------ the servers of a session


def request(place: Path, folder: Path | None, **changes: Any) -> dict[str, Any]:
    serve = {"words": program(place), "env": {}, "timeout": 20.0, "key_env": None}
    engine = {"backend": "openai", "endpoint": {"base_url": "", "model": "{model}"}, "serve": serve}
    return {"stage": "generate", "folder": str(folder) if folder else None, "engine": engine, **changes}


def test_suites_share_a_server_and_models_do_not(tmp_path: Path) -> None:
    servers, environment = Servers(), dict(os.environ)
    first, other = tmp_path / "first", tmp_path / "other"
    for folder in (first, other):
        folder.mkdir()
        (folder / "config.json").write_text("{}")

    def ready(asked: Mapping[str, Any]) -> Mapping[str, Any]:
        return servers.ready(asked, tmp_path / "logs", environment)

    told = ready(request(tmp_path, first))["engine"]
    assert told["direct"]
    assert "serve" not in told
    assert told["endpoint"]["base_url"].startswith("http://127.0.0.1:")
    assert ready(request(tmp_path, first))["engine"] == told
    assert len(pids(tmp_path)) == 2
    ready(request(tmp_path, other))
    assert len(pids(tmp_path)) == 4
    assert gone(pids(tmp_path)[:2])
    (other / "config.json").write_text('{"changed": true}')
    ready(request(tmp_path, other))
    assert len(pids(tmp_path)) == 6
    # That of an arm names its model itself.
    ready(request(tmp_path, None))
    assert len(pids(tmp_path)) == 8
    # An accelerator does not hold the trainer beside it.
    training = {"stage": "train"}
    assert ready(training) is training
    assert gone(pids(tmp_path))


# ------------------------------------------------------------------ what a job file says

JOB = f"""
[job.served]
base = "{BASE}"
[job.served.data]
train = {{ path = "rows.jsonl" }}
eval = {{ path = "rows.jsonl" }}
[[job.served.suite]]
name = "a"
role = "guard"
margin = 0.1
scorer = {{ type = "exact" }}
[job.served.eval]
backend = "openai"
"""
SERVE = 'serve = ["vllm", "serve", "{model}", "--port", "{port}"]'
REFUSED = {
    "no table": ("", 'backend "openai" needs openai = { serve = [...] }, or one with base_url and model'),
    "neither": ('openai = { model = "x" }', "expected either serve (a command that starts a server) or base_url"),
    "both": (f'openai = {{ base_url = "http://a/v1", {SERVE} }}', "expected either serve"),
    "one model for two": (
        'openai = { base_url = "http://a/v1", model = "tuned" }',
        "a server that runs serves one model, and a job evaluates the base and what becomes of it: let serve start",
    ),
    "no port": ('openai = { serve = ["vllm", "serve", "{model}"] }', "no word holds {port}"),
    "no model": ('openai = { serve = ["vllm", "serve", "--port", "{port}"] }', "no word holds {model}"),
    "a key among the words": (
        f'openai = {{ serve = ["vllm", "serve", "{{model}}", "--port", "{{port}}", "--api-key", "{KEY}"] }}',
        "a key in a job file is not taken: let the server read it from its environment",
    ),
    "a key as such": (f'openai = {{ api_key = "{KEY}", {SERVE} }}', "a key in a job file is not taken"),
    "what the job says elsewhere": (
        f"openai = {{ extra_body = {{ temperature = 1.0 }}, {SERVE} }}",
        "sets temperature, which the job says elsewhere",
    ),
}


def read(place: Path, table: str) -> Any:
    file = place / "served.modelcheck.toml"
    file.write_text(JOB + table)
    return read_jobs(file)["served"]


@pytest.mark.parametrize("case", REFUSED)
def test_a_job_that_cannot_be_meant_is_refused_where_it_stands(case: str, tmp_path: Path) -> None:
    table, message = REFUSED[case]
    with pytest.raises(UsageError) as raised:
        read(tmp_path, table)
    assert message in str(raised.value)
    assert "served.modelcheck.toml:1" in str(raised.value)
    assert KEY not in str(raised.value)


def test_a_job_says_how_its_server_is_started(tmp_path: Path) -> None:
    table = f'openai = {{ {SERVE}, serve_timeout = "5m", serve_env = {{ A = "1" }}, api_key_env = "SOME_KEY" }}'
    engine = read(tmp_path, table).eval.engine
    assert engine["serve"] == {
        "words": ("vllm", "serve", "{model}", "--port", "{port}"),
        "env": {"A": "1"},
        "timeout": 300.0,
        "key_env": "SOME_KEY",
    }
    assert engine["endpoint"]["model"] == "{model}"


@pytest.mark.parametrize(
    "table",
    [
        f'openai = {{ {SERVE}, serve_timeout = "5m", serve_env = {{ A = "1" }}, api_key_env = "SOME_KEY" }}',
        'openai = { base_url = "http://a/v1", model = "{model}", timeout = "1.5s", extra_body = { best_of = 1 } }',
    ],
)
def test_a_job_as_it_was_run_is_read_again(table: str, tmp_path: Path) -> None:
    job = read(tmp_path, table)
    (tmp_path / "again.modelcheck.toml").write_text(toml(job))
    assert read_jobs(tmp_path / "again.modelcheck.toml")["served"].eval == job.eval


def test_a_worker_tells_of_every_library_that_preflight_asks_for() -> None:
    asked = {*preflight.TRAINING, *(name for names in preflight.EVALUATING.values() for name in names)}
    assert asked <= {*worker.SHOWN}


def test_preflight_names_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = 'openai = { serve = ["no-such-server", "{model}", "{port}"], api_key_env = "SOME_KEY" }\n'
    monkeypatch.delenv("SOME_KEY", raising=False)
    [unset, absent] = settings.problems(read(tmp_path, table).eval)
    assert "the environment variable SOME_KEY, which api_key_env names, is not set" in unset
    assert absent == "eval.openai.serve: 'no-such-server' is no program: name one that is there"
    monkeypatch.setenv("SOME_KEY", KEY)
    found = [*settings.problems(read(tmp_path, f'{table}env = {{ SOME_KEY = "{KEY}" }}').eval)]
    assert found[0] == "eval.env: holds SOME_KEY, a key in a job file: leave it out, and set it where the job is run"
    assert KEY not in "".join(found)
