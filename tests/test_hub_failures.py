"""When the hub does not give what is wanted: one line, exit 2, what to do; and what is tried again before that."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from fakehub import TOKEN, FakeHub, Fault, Request
from test_hub import adapter, download, lint

from modelcheck import tiny
from modelcheck.cli import cli
from modelcheck.names import TEXT_LIMIT
from modelcheck.sources.hub_client import Answer, Client


def refused(hub: FakeHub, *arguments: str) -> str:
    """What a lint says in its one line about what cannot be read."""
    result = CliRunner().invoke(cli, ["lint", *arguments])
    assert result.exit_code == 2
    [line] = [line for line in result.output.splitlines() if "cannot be read:" in line]
    return line


def test_gated_without_a_token(hub: FakeHub) -> None:
    hub.add("org/gated", tiny.files(), gated=True)
    line = refused(hub, "org/gated")
    assert f"is gated: accept its licence at {hub.url}/org/gated, then `hf auth login` or set HF_TOKEN" in line


def test_gated_with_a_token_that_has_no_access(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    hub.add("org/gated", tiny.files(), gated=True)
    assert "your token has no access: accept its licence at" in refused(hub, "org/gated")


@pytest.mark.parametrize("how", ["gated", "private"])
def test_with_a_token_that_has_access(hub: FakeHub, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.add("org/secret", tiny.files(), **{how: True})
    assert lint("org/secret").error is None


def test_a_token_that_the_hub_refuses(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    hub.add("org/tiny", tiny.files())
    assert "the hub refuses your token; `hf auth login`" in refused(hub, "org/tiny")


def test_private_or_missing(hub: FakeHub) -> None:
    hub.add("org/private", tiny.files(), private=True)
    for name in ("org/private", "org/nothing"):
        assert "no such folder, and" in refused(hub, name)
        assert "has no such model, or a private one" in refused(hub, name)


def test_a_mistyped_name_of_a_cached_model(hub: FakeHub) -> None:
    hub.add("org/tiny", tiny.files())
    download("org/tiny")
    assert "did you mean 'org/tiny'?" in (lint("org/tinny").error or "")


MEANT = {
    "https://huggingface.co/org/tiny": "org/tiny",
    "https://huggingface.co/org/tiny/": "org/tiny",
    "https://huggingface.co/org/tiny/tree/refs%2Fpr%2F1": "org/tiny --revision refs/pr/1",
    "https://hub.example/org/tiny/blob/v1/config.json?x=y": "org/tiny --revision v1",
    "org/tiny@main": "org/tiny --revision main",
}


@pytest.mark.parametrize(("target", "meant"), MEANT.items(), ids=MEANT)
def test_a_page_of_the_hub_and_an_id_with_a_revision_are_pointed_to_the_id(
    hub: FakeHub, target: str, meant: str
) -> None:
    told = f"{target}: no such folder, and no hub id; for the model on the hub say {meant}"
    assert refused(hub, target).endswith(told)
    assert hub.requests == []


def test_what_was_read_is_no_more_than_there_is(hub: FakeHub) -> None:
    repository = hub.add("org/small", {"config.json": b"{}"})
    result = CliRunner().invoke(cli, ["lint", "org/small"])
    assert f"org/small at {repository.sha}: read 2 bytes of 2 bytes" in result.stdout


def test_what_the_rows_in_use_cannot_tell_is_no_alarm(hub: FakeHub) -> None:
    hub.add("org/tiny", tiny.files())
    result = CliRunner().invoke(cli, ["lint", "org/tiny"])
    assert (
        "could not check non-finite-weights: none in the 320 of 320 rows of model.embed_tokens.weight that were read, "
        "the other weights were not read (--weights embeddings)"
    ) in result.stdout


def test_an_adapter_without_weights_is_told_by_where_they_should_be(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("org/adapter", adapter("org/none"))
    (tmp_path / "adapter_config.json").write_bytes(adapter("org/none")["adapter_config.json"])
    told = {
        target: {one.slug: one.reason for one in lint(target).skipped}["lora-untrained"]
        for target in ("org/adapter", str(tmp_path))
    }
    assert list(told.values()) == [
        "the repository has no adapter_model.safetensors (push the adapter's weights)",
        "the adapter's weights are not in the folder (fetch adapter_model.safetensors)",
    ]


def test_a_revision_that_is_not_there(hub: FakeHub) -> None:
    hub.add("org/tiny", tiny.files())
    assert "has no revision 'v2'" in refused(hub, "org/tiny", "--revision", "v2")


def test_offline_and_not_cached(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("org/tiny", tiny.files())
    assert "nothing of it is cached; run once without --offline" in refused(hub, "org/tiny", "--offline")
    lint("org/tiny", select=["CFG006"])
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hub.forget()
    report = lint("org/tiny")
    assert "is not cached; run once without --offline" in (report.error or "")
    assert report.findings == []
    assert hub.requests == []


def test_no_server(monkeypatch: pytest.MonkeyPatch, hub: FakeHub) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "http://127.0.0.1:9 cannot be reached" in refused(hub, "org/tiny")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HF_ENDPOINT", "huggingface.co"),
        *(("HF_HUB_DOWNLOAD_TIMEOUT", s) for s in ("ten", "", "0", "-1", "nan", "inf")),
    ],
)
def test_variables_that_mean_nothing(hub: FakeHub, monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    assert f"{variable} is '{value}', expected" in refused(hub, "org/tiny")


def large(request: Request) -> bool:
    return "/resolve/" in request.path and request.path.endswith(".safetensors")


ANSWERS: dict[str, tuple[Callable[[int, Request], Fault | None], str]] = {
    "no-range": (
        lambda n, r: Fault(ignores_range=True),
        "ignores Range requests and would send all of model.safetensors",
    ),
    "other-range": (lambda n, r: Fault(other_range=True) if large(r) else None, "answers another range"),
    "xet-only": (lambda n, r: Fault(200, {"x-xet-hash": "abc"}) if large(r) else None, "through Xet alone"),
    "timeout": (lambda n, r: Fault(seconds=1.5), "did not answer within 0.2 s (HF_HUB_DOWNLOAD_TIMEOUT)"),
    "nonsense": (lambda n, r: Fault(302, {"location": "http://[::1:99999999/x"}), "broke off its answer"),
    "port": (lambda n, r: Fault(302, {"location": "http://host:99999999/x"}), "broke off its answer"),
    "circles": (lambda n, r: Fault(302, {"location": r.path}), "redirects more than 5 times"),
    "no-hub": (lambda n, r: Fault(200), "does not answer as a hub; is HF_ENDPOINT right?"),
    "always-503": (lambda n, r: Fault(503), "answers 503; try again later"),
    "cut": (lambda n, r: Fault(cut=True) if large(r) else None, "broke off its answer"),
    "damaged": (lambda n, r: Fault(damaged=True) if "config.json" in r.path else None, "sends another config.json"),
    "wrong-tag": (lambda n, r: Fault(tag="0" * 40) if large(r) else None, "sends another model.safetensors"),
}


@pytest.mark.parametrize(("fault", "told"), ANSWERS.values(), ids=ANSWERS)
def test_answers_that_are_of_no_use(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, fault: Callable[[int, Request], Fault | None], told: str
) -> None:
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "0.2")
    padding = {"__metadata__": {"padding": "x" * 100_000}}
    weights = json.dumps(padding).encode()
    hub.add("org/tiny", {**tiny.files(), "model.safetensors": len(weights).to_bytes(8, "little") + weights})
    hub.fault = fault
    assert told in refused(hub, "org/tiny")
    assert len(hub.requests) <= 12
    assert hub.sent < 200_000


def test_what_could_be_read_is_told_all_the_same(hub: FakeHub) -> None:
    files = {**tiny.files(), "config.json": json.dumps({**tiny.CONFIG, "eos_token_id": 1}).encode()}
    hub.add("org/tiny", files)
    hub.fault = lambda number, request: Fault(503) if large(request) else None
    report = lint("org/tiny")
    assert "eos-disagrees" in [finding.slug for finding in report.findings]
    assert "answers 503" in (report.error or "")


# -- Retries -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Fault(503), Fault(429, {"retry-after": "0"}), Fault(cut=True)], ids=str)
def test_every_third_request_fails_and_nothing_is_lost(hub: FakeHub, fault: Fault) -> None:
    hub.add("org/tiny", tiny.files())
    hub.fault = lambda number, request: fault if number % 3 == 0 else None
    report = lint("org/tiny")
    assert report.error is None
    assert {skipped.slug for skipped in report.skipped} <= {"untrained-rows", "non-finite-weights"}


def test_retry_after_is_waited_for(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("modelcheck.sources.hub_client.sleep", waits.append)
    hub.add("org/tiny", tiny.files())
    asked_to = [{"retry-after": "7"}, {"ratelimit": '"api";r=0;t=9'}, {"retry-after": "Wed, 01 Jan 2020 00:00:00 GMT"}]
    hub.fault = lambda number, request: Fault(429, asked_to[number - 1]) if number <= 3 else None
    assert lint("org/tiny", select=["CFG"]).error is None
    assert waits == [7, 9, 0.04]


def test_a_wait_is_announced_where_progress_is(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelcheck.sources.hub_client.sleep", lambda seconds: None)
    hub.add("org/tiny", tiny.files())
    hub.fault = lambda number, request: Fault(429, {"retry-after": "4"}) if number == 1 else None
    result = CliRunner().invoke(cli, ["lint", "org/tiny", "--select", "CFG"])
    assert result.stderr == f"modelcheck: org/tiny: {hub.url} answers 429; waiting 4 s to ask again\n"


def test_a_host_that_takes_no_connection_is_tried_twice_and_that_is_said(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries, once = [], Client._once

    def counted(self: Client, url: str, *rest: Any) -> Answer:
        tries.append(url)
        return once(self, url, *rest)

    monkeypatch.setattr(Client, "_once", counted)
    monkeypatch.setattr("modelcheck.sources.hub_client.NOTICED", 0.1)
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "0.3")
    with ExitStack() as stack:
        deaf = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):  # which fills the queue of a socket that nobody accepts from
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(0)
            waiting.connect_ex(deaf.getsockname())
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        monkeypatch.setenv("HF_ENDPOINT", url)
        result = CliRunner().invoke(cli, ["lint", "org/tiny"])
    problem = f"{url} cannot be reached: no connection within 0.3 s (HF_HUB_DOWNLOAD_TIMEOUT)"
    assert (result.exit_code, len(tries)) == (2, 2)
    assert f"cannot be read: org/tiny: no such folder, and {problem}; try again later" in result.stdout
    assert result.stderr == f"modelcheck: org/tiny: {problem}; waiting 0.01 s to ask again\n"


def test_who_asks_to_wait_for_an_hour_is_not_waited_for(hub: FakeHub) -> None:
    hub.fault = lambda number, request: Fault(429, {"retry-after": "3600"})
    assert "asks to wait for 3600 s" in (lint("org/tiny").error or "")
    assert len(hub.requests) == 1


def test_a_config_that_is_no_config_is_not_fetched(hub: FakeHub) -> None:
    hub.add("org/tiny", {**tiny.files(), "config.json": b" " * (TEXT_LIMIT + 1)})
    report = lint("org/tiny", select=["CFG"])
    assert [(finding.slug, finding.file) for finding in report.findings] == [("malformed-file", "config.json")]
    assert hub.sent_of_files < 100_000


@pytest.mark.parametrize("said", ["9" * 400, "9" * 5000, "-1", "never"])
def test_a_wait_that_means_nothing_is_our_own(hub: FakeHub, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    waits: list[float] = []
    monkeypatch.setattr("modelcheck.sources.hub_client.sleep", waits.append)
    hub.add("org/tiny", tiny.files())
    hub.fault = lambda number, request: Fault(429, {"retry-after": said}) if number == 1 else None
    assert lint("org/tiny", select=["CFG"]).error is None
    assert waits == [0.01]


@pytest.mark.parametrize("busy", [Fault(503, {"retry-after": "50"}), Fault(seconds=20)], ids=["told to wait", "slow"])
def test_ctrl_c_waits_for_no_server(hub: FakeHub, monkeypatch: pytest.MonkeyPatch, busy: Fault) -> None:
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "30")
    hub.add("org/tiny", tiny.files())
    waited_for = threading.Event()

    def fault(number: int, request: Request) -> Fault | None:
        if "config.json" in request.path or "/resolve/" not in request.path:
            return None
        waited_for.set()
        return busy

    hub.fault = fault
    process = subprocess.Popen([sys.executable, "-m", "modelcheck", "lint", "org/tiny"], stderr=subprocess.PIPE)
    assert waited_for.wait(20)
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"Traceback" not in errors
    assert time.monotonic() - started < 10
