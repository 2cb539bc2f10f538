"""How a repository is asked for: how many requests at a time, what is said beforehand, which commit, which cache."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest
from fakehub import FakeHub, Fault, Repository
from test_hub import asked, download, lint
from test_hub_counts import sharded

from modelcheck import tiny
from modelcheck.engine import Options, lint_targets
from modelcheck.sources import Access
from modelcheck.sources.pinning import open_repository


def in_shards() -> dict[str, bytes]:
    """The tiny checkpoint, each of its tensors in a file of its own."""
    tensors = tiny.tensors()
    shards = {name: f"model-{number:05}-of-{len(tensors):05}.safetensors" for number, name in enumerate(tensors, 1)}
    index = json.dumps({"metadata": {}, "weight_map": shards}).encode()
    files = {name: content for name, content in tiny.files().items() if name != "model.safetensors"}
    parts = {shard: tiny.safetensors({name: tensors[name]}) for name, shard in shards.items()}
    return files | parts | {"model.safetensors.index.json": index}


# -- Several at a time ---------------------------------------------------------------------------------------------


def test_many_shards_are_asked_for_together_and_not_all_at_once(hub: FakeHub) -> None:
    hub.add("org/tiny", in_shards())
    hub.fault = lambda number, request: Fault(seconds=0.05)
    lint("org/tiny", select=["missing-tensor"])
    assert len([name for name in asked(hub) if name.endswith(".safetensors")]) > 2 * 8
    assert 2 <= hub.busiest <= 8


def test_the_small_files_that_the_rules_read_are_fetched_together(hub: FakeHub) -> None:
    hub.add("org/tiny", {**tiny.files(), "chat_template.jinja": b"{{ messages }}", "other.json": b"{}"})
    hub.fault = lambda number, request: Fault(seconds=0.2)
    lint("org/tiny", select=["TPL"])
    assert hub.busiest >= 3
    assert "other.json" not in asked(hub)
    hub.forget()
    lint("org/tiny", select=["CFG006"])
    assert asked(hub) == []  # it has been fetched before


# -- What is said beforehand ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [pytest.param("embeddings", marks=pytest.mark.slow), "full"])
def test_a_run_says_once_how_much_of_the_weights_is_to_come(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], weights: str
) -> None:
    # Much is what tokenizer.json takes, and no smaller file; headers are shorter than 4000 bytes.
    limits = {"sources.transfer.MUCH": 9000, "engine.MUCH": 9000, "sources.hub.TOGETHER": 9000}
    for place, limit in limits.items():
        monkeypatch.setattr(f"modelcheck.{place}", limit)
    monkeypatch.setattr(sys.modules["modelcheck.facts.tensors"], "FIRST", 4000)
    hub.add("org/sharded", sharded())
    list(lint_targets(["org/sharded"], Options(select=["WGT"], weights=weights, announced=True)))
    [told] = capsys.readouterr().err.splitlines()
    match = re.search(r": (\d+) kB to come \(model-00001-of-00002.safetensors and 2 more files\)$", told)
    assert match
    come = sum(request.sent for request in hub.requests if request.path.endswith(("safetensors", "tokenizer.json")))
    # Between the ends of neighbouring small tensors more may be read, or not.
    assert (0.98 if weights == "full" else 0.8) * 1000 * int(match[1]) < come < 1.04 * 1000 * int(match[1])


# -- The commit ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "revision", ["dev/long-context", pytest.param("v1.0", marks=pytest.mark.slow), "refs/pr/1"], ids=str
)
def test_a_revision_is_pinned_to_its_commit(hub: FakeHub, revision: str) -> None:
    changed = {**tiny.files(), "config.json": json.dumps({**tiny.CONFIG, "use_cache": False}).encode()}
    other = Repository("org/tiny", changed, "ab" * 20)
    hub.add("org/tiny", tiny.files(), revisions={revision: other})
    here, there = lint("org/tiny"), lint("org/tiny", revision=revision)
    assert here.hub[0].sha != there.hub[0].sha == other.sha
    assert [finding.slug for finding in here.findings] == []
    assert [finding.slug for finding in there.findings] == ["use-cache-false"]
    hub.forget()
    assert lint("org/tiny", revision=revision, offline=True).findings == there.findings
    assert lint("org/tiny", revision=other.sha).findings == there.findings
    assert hub.requests == []


def test_a_revision_of_the_clients_cache_is_read_there(hub: FakeHub) -> None:
    other = Repository("org/tiny", tiny.files(), "ab" * 20)
    hub.add("org/tiny", tiny.files(), revisions={"refs/pr/1": other})
    download("org/tiny@refs/pr/1")
    hub.forget()
    assert lint("org/tiny", revision="refs/pr/1").hub[0].sha == other.sha
    assert hub.requests == []


@pytest.mark.parametrize("part", [(), ("config.json", "tokenizer*")], ids=["whole", "part"])
def test_only_a_whole_snapshot_is_taken_for_what_the_revision_is_now(hub: FakeHub, part: tuple[str, ...]) -> None:
    before = hub.add("org/tiny", {**tiny.files(), "README.md": b"before"})
    download("org/tiny", *(part or ("*.json", "*.safetensors")))
    now = hub.add("org/tiny", {**tiny.files(), "README.md": b"now"})
    hub.forget()
    assert lint("org/tiny").hub[0].sha == (now.sha if part else before.sha)
    assert bool(hub.requests) is bool(part)


# -- The client's cache --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said", ["HF_HOME", *(pytest.param(name, marks=pytest.mark.slow) for name in ("XDG_CACHE_HOME", "HOME"))]
)
def test_the_clients_cache_is_found_where_the_client_has_it(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv(said, str(tmp_path / "place"))
    hub.add("org/tiny", tiny.files())
    download("org/tiny")
    assert any((tmp_path / "place").rglob("config.json"))
    hub.forget()
    assert lint("org/tiny").error is None
    assert hub.requests == []
    assert os.environ["MODELCHECK_CACHE"] != os.environ[said]


# -- A server that sends a byte now and then -----------------------------------------------------------------------


def test_a_body_that_trickles_is_given_up(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelcheck.sources.hub_client.TRIES", 1)
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "0.2")  # no pause between two bytes is as long
    hub.add("org/tiny", tiny.files())
    source = open_repository("org/tiny", Access())
    hub.fault = lambda number, request: Fault(trickle=0.02)
    with pytest.raises(OSError, match=r"broke off its answer \(\d+ of 120 bytes in 1.2 s\)"):
        source.read("tokenizer.json", 0, 120)
