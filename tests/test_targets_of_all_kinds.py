"""Folders, GGUFs and hub ids in one run; odd endpoints and variables; repositories with nothing to lint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakehub import FakeHub
from gguf_files import write
from support import run
from test_fleet import without_times
from test_hub import ZEROS, adapter, files, lint

from modelcheck import cache, fleet, tiny
from modelcheck.engine import Options, lint_targets
from modelcheck.report import TargetReport
from modelcheck.sources import Access
from modelcheck.sources.pinning import open_repository
from modelcheck.sources.transfer import Transfer
from modelcheck.testing import write_overlay

BAD = {"tokenizer_config.json": '{"pad_token": "<|im_end|>"}', **ZEROS}
PAD_IS_EOS = {"tokenizer.ggml.padding_token_id": 3}


@pytest.fixture
def mixed(hub: FakeHub, tmp_path: Path) -> list[str]:
    """One target of each kind, some of which cannot be read."""
    folder = write_overlay(tmp_path / "a föl der", BAD)
    hub.add("org/bad", files(folder))
    hub.add("org/gated", tiny.files(), gated=True)
    hub.add("org/adapter", adapter("org/bad"))
    packed = write(tmp_path / "mödel Q4.gguf", PAD_IS_EOS)
    return ["org/bad", str(folder), str(packed), "org/gated", "org/none", str(tmp_path / "none.gguf"), "org/adapter"]


def test_two_processes_say_of_them_what_one_says(hub: FakeHub, mixed: list[str]) -> None:
    list(lint_targets(mixed, Options()))  # so that both find the same in our cache
    alone, together = list(lint_targets(mixed, Options())), list(fleet.lint_many(mixed, Options(), 2))
    assert without_times(together) == without_times(alone)
    assert [r.source for r in alone] == ["hub", "folder", "gguf", "hub", "hub", "gguf", "hub"]
    assert [bool(r.error) for r in alone] == [False, False, False, True, True, True, False]
    hub.forget()
    offline: list[TargetReport] = list(fleet.lint_many(mixed, Options(offline=True), 2))
    assert hub.requests == []
    assert [r.findings for r in offline] == [r.findings for r in alone]


def test_a_targets_file_of_hub_ids(mixed: list[str], tmp_path: Path) -> None:
    listed = tmp_path / "targets.txt"
    first, *others = mixed
    listed.write_text("# of all kinds\n" + "\n".join(["  # one", first, "", *others]), encoding="utf-8")
    result = run("lint", "--targets-file", str(listed), "--jobs", "2", "--format", "json", "--revision", "main")
    reported = json.loads(result.stdout)["targets"]
    assert (result.code, result.stderr) == (2, "")
    assert [t["target"] for t in reported] == mixed
    refused = [t["target"] for t in reported if "is for hub ids" in (t["error"] or "")]
    assert refused == mixed[1:3]  # a folder and a file have no revisions


@pytest.mark.parametrize("form", ["sarif", "github"])
def test_a_finding_is_placed_under_the_name_of_its_target(hub: FakeHub, mixed: list[str], form: str) -> None:
    told = run("lint", *mixed, "--format", form).stdout
    assert hub.repositories["org/bad"].sha in told
    assert hub.repositories["org/adapter"].sha in told
    assert "org/bad/tokenizer_config.json" in told
    assert "org/adapter/adapter_config.json" in told
    assert "org/gated: is gated" in told


def test_a_baseline_and_ignores_know_hub_ids(mixed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = str(tmp_path / "known.json")
    readable = mixed[:3]
    assert run("lint", *readable).code == 1
    assert run("lint", *readable, "--baseline", known, "--write-baseline").code == 0
    assert run("lint", *readable, "--baseline", known).code == 0
    monkeypatch.chdir(tmp_path)
    ignored = '[[per-model-ignore]]\nmodel = "org/*"\nrules = ["pad-is-eos"]\nreason = "we mask otherwise"\n'
    (tmp_path / "modelcheck.toml").write_text(ignored)
    assert run("lint", "org/bad").code == 0


def test_the_bytes_of_a_named_base_are_counted_once(hub: FakeHub, mixed: list[str], tmp_path: Path) -> None:
    adapters = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_config.json").write_bytes(adapter("org/bad")["adapter_config.json"])
        adapters.append(str(tmp_path / name))
    reports = list(lint_targets(adapters, Options(base="org/bad")))
    assert [[one.id for one in report.hub] for report in reports] == [["org/bad"], ["org/bad"]]
    assert sum(one.read for report in reports for one in report.hub) == hub.sent_of_files > 0


def test_a_gguf_is_not_said_to_be_mendable(mixed: list[str]) -> None:
    report = lint(mixed[2])
    assert "pad-is-eos" in [finding.slug for finding in report.findings]
    assert not report.mended


# -- Nothing to lint -----------------------------------------------------------------------------------------------

NOTHING = {
    "one gguf": ({"m.gguf": b"GGUF", "README.md": b"x"}, "`hf download org/model m.gguf`"),
    "a readme": ({"README.md": b"x"}, "there is nothing to lint"),
    "no file": ({}, "there is nothing to lint"),
}


@pytest.mark.parametrize(("content", "told"), NOTHING.values(), ids=NOTHING)
def test_a_repository_without_a_checkpoint_does_not_read_as_healthy(
    hub: FakeHub, content: dict[str, bytes], told: str
) -> None:
    hub.add("org/model", content)
    assert told in (lint("org/model").error or "")


def test_nor_does_such_a_folder(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("x")
    assert "there is nothing to lint" in (lint(str(tmp_path)).error or "")


def test_a_gguf_beside_a_configuration_is_pointed_to(hub: FakeHub) -> None:
    hub.add("org/model", {"config.json": json.dumps(tiny.CONFIG).encode(), "m.gguf": b"GGUF"})
    [reason] = [s.reason for s in lint("org/model").skipped if s.slug == "untrained-rows"]
    assert "name the file m.gguf" in reason


PARTS = {
    "pickles": {"config.json": tiny.files()["config.json"], "pytorch_model.bin": b"a pickle"},
    "tokenizer": {name: tiny.files()[name] for name in ("tokenizer.json", "tokenizer_config.json")},
    "web page": {**tiny.files(), "config.json": b"<!doctype html><html>Sign in</html>"},
    "pointer": {**tiny.files(), "model.safetensors": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"},
    "many files": {**tiny.files(), **{f"other-{number}.txt": b"x" for number in range(10_000)}},
}


@pytest.mark.parametrize("content", PARTS.values(), ids=PARTS)
def test_part_of_a_checkpoint_is_checked_as_far_as_it_goes(
    hub: FakeHub, tmp_path: Path, content: dict[str, bytes]
) -> None:
    hub.add("org/part", content)
    (tmp_path / "part").mkdir()
    for name, data in content.items():
        (tmp_path / "part" / name).write_bytes(data)
    here, there = lint(str(tmp_path / "part"), weights="embeddings"), lint("org/part", weights="embeddings")
    assert (there.error, there.findings, there.skipped) == (None, here.findings, here.skipped)


# -- Endpoints, tokens, proxies ------------------------------------------------------------------------------------


def test_an_endpoint_may_end_with_a_slash(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("org/tiny", tiny.files())
    monkeypatch.setenv("HF_ENDPOINT", f"{hub.url}/")
    assert lint("org/tiny").error is None


ODD = {
    "port": ("HF_ENDPOINT", "http://127.0.0.1:99999", "HF_ENDPOINT is 'http://127.0.0.1:99999', expected a URL"),
    "no port": ("HF_ENDPOINT", "http://127.0.0.1:x", "HF_ENDPOINT is 'http://127.0.0.1:x', expected a URL"),
    "seconds": (
        "HF_HUB_ETAG_TIMEOUT",
        "1.5",
        "refuses one of its variables HF_...: invalid literal for int() with base 10",
    ),
    "ascii": ("HF_TOKEN", "hf_gööd", "HF_TOKEN) holds characters that no token has"),
    "socks": ("ALL_PROXY", "socks5://127.0.0.1:9", "is ALL_PROXY right?"),
    "proxy": ("HTTP_PROXY", "http://me:hidden@127.0.0.1:9", "is HTTP_PROXY right?"),
    "password": ("HF_ENDPOINT", "http://me:hidden@127.0.0.1:9", "http://127.0.0.1:9 cannot be reached"),
}


@pytest.mark.parametrize(("variable", "value", "told"), ODD.values(), ids=ODD)
def test_what_is_wrong_with_a_variable_is_said_and_no_secret(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, told: str
) -> None:
    hub.add("org/tiny", tiny.files())
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, value)
    result = run("lint", "org/tiny")  # a new process: the client reads them once
    assert (result.code, result.stderr) == (2, "")
    assert told in result.stdout
    assert "hidden" not in result.stdout
    assert "gööd" not in result.stdout


# -- A cache that cannot be written, a terminal --------------------------------------------------------------------


def test_without_a_cache_little_is_held_in_memory(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelcheck.sources.hub.STEP", 8192)
    monkeypatch.setattr("modelcheck.sources.hub.HELD", 70_000)
    (tmp_path / "cache").write_text("a file where the folder should be")
    hub.add("org/tiny", tiny.files())
    source = open_repository("org/tiny", Access())
    content = tiny.files()["model.safetensors"]
    assert b"".join(bytes(p) for p in source.stream("model.safetensors", 0, len(content), 8192)) == content
    held = sum(len(data) for pieces in source._pieces.values() for data in pieces._memory.values())
    assert 70_000 < held < 70_000 + 8 * 8192 + 4096 < len(content)
    assert cache.size() == (0, 0)


def test_a_worker_draws_no_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import multiprocessing
    import sys

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(multiprocessing.current_process(), "_name", "LokyProcess-1")
    transfer = Transfer("org/name", announced=True)
    transfer.expect(50_000_000, "model.safetensors")
    assert transfer._bar is None
    assert capsys.readouterr().err == "modelcheck: org/name: 50 MB to come (model.safetensors)\n"
