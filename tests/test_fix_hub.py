"""`modelcheck fix` on what is no folder: a model on the hub, a GGUF."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from fakehub import FakeHub
from support import contents, run
from test_hub import adapter

from modelcheck import cache
from modelcheck.cli import cli
from modelcheck.testing import write_overlay

FAULTS = {
    "config.json": '{"use_cache": false}',
    "generation_config.json": "null",
    "tensors.json": '{"model.embed_tokens.weight": {"2": "zeros"}}',
}


@pytest.fixture
def published(hub: FakeHub, tmp_path: Path) -> dict[str, bytes]:
    """The files of `org/model` on the hub."""
    files = contents(write_overlay(tmp_path / "original", FAULTS))
    hub.add("org/model", {**files, "pytorch_model.bin": b"a pickle", "README.md": b"read me"})
    return files


def test_the_diff_is_shown_without_fetching_the_model(hub: FakeHub, published: dict[str, bytes]) -> None:
    result = run("fix", "org/model", "--unsafe")
    assert result.code == 1, result.stderr
    assert '+  "use_cache": true' in result.stdout
    assert "model.embed_tokens.weight: 1 row" in result.stdout
    assert "--output DIR fetches the model and writes a mended copy" in result.stdout
    assert not any(request.path.endswith(".bin") for request in hub.requests)


def test_it_cannot_be_changed_in_place(published: dict[str, bytes]) -> None:
    result = run("fix", "org/model", "--write")
    assert (result.code, "is on the hub; --output DIR" in result.stderr) == (2, True)


def test_a_mended_copy_holds_what_loaders_read(hub: FakeHub, published: dict[str, bytes], tmp_path: Path) -> None:
    copy = tmp_path / "mended"
    result = run("fix", "org/model", "--unsafe", "--output", str(copy))
    assert result.code == 0, result.stderr
    mended = contents(copy)
    assert mended.keys() == {*published, "README.md"}
    assert json.loads(mended["config.json"])["use_cache"] is True
    assert len(mended["model.safetensors"]) == len(published["model.safetensors"])
    assert {n for n in published if mended[n] != published[n]} == {"config.json", "model.safetensors"}
    assert run("lint", str(copy)).code == 0
    assert contents(tmp_path / "hf" / "hub") == {}


def test_a_copy_that_cannot_be_fetched_whole_is_not_there(
    hub: FakeHub, published: dict[str, bytes], tmp_path: Path
) -> None:
    run("fix", "org/model")
    copy = tmp_path / "mended"
    result = run("fix", "org/model", "--offline", "--output", str(copy))
    assert result.code == 2
    assert "run once without --offline" in result.stderr
    assert [path.name for path in tmp_path.iterdir() if "mended" in path.name] == []


LIMIT = 100_000


@pytest.mark.parametrize("command", [("lint", "--weights", "full"), ("fix", "--unsafe", "--output", "mended")])
def test_no_command_leaves_more_in_our_cache_than_its_limit(
    published: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cache, "LIMIT", LIMIT)
    name, *options = command
    result = CliRunner().invoke(cli, [name, "org/model", *options])
    assert result.exit_code in (0, 1), result.output
    assert len(published["model.safetensors"]) > 2 * LIMIT
    assert cache.size()[1] <= LIMIT


def test_a_gguf_is_mended_where_it_came_from(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF" + bytes(60))
    result = run("fix", str(file))
    assert result.code == 2
    assert "Traceback" not in result.stderr


def test_of_an_adapter_its_own_files_are_copied_alone(
    hub: FakeHub, published: dict[str, bytes], tmp_path: Path
) -> None:
    hub.add("org/adapter", adapter("org/model"))
    copy = tmp_path / "mended"
    result = run("fix", "org/adapter", "--output", str(copy))
    assert (result.code, result.stderr) == (0, "")
    assert contents(copy) == adapter("org/model")


@pytest.mark.parametrize("place", ["models--org--model/snapshots/other", "other"])
def test_no_copy_is_written_into_the_hubs_cache(published: dict[str, bytes], tmp_path: Path, place: str) -> None:
    result = run("fix", "org/model", "--unsafe", "--output", str(tmp_path / "hf" / "hub" / place))
    assert (result.code, "lies in the hub's cache" in result.stderr) == (2, True)
    assert contents(tmp_path / "hf" / "hub") == {}
