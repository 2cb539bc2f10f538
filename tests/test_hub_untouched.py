"""Nothing below the hub's cache is opened for writing, made, renamed or removed: a kill can leave nothing there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fakehub import FakeHub
from test_hub import DOWNLOAD, adapter, download, files
from test_hub_counts import sharded

from modelcheck.testing import write_overlay

WATCHED = str(Path(__file__).with_name("watched.py"))
FAULTS = {"config.json": '{"use_cache": false}', "tensors.json": '{"model.embed_tokens.weight": {"2": "zeros"}}'}
RUNS = (
    "lint org/model --weights full",
    "lint org/sharded --weights full",
    "lint org/adapter",
    "fix org/model --unsafe --output mended",
)
ENDS = (1, 0, 1, 0)
# One process for all, whose modules are imported once.
EACH = """
import sys
from modelcheck.cli import cli
for run in sys.argv[1:]:
    try: cli(run.split())
    except SystemExit as end: print("exit", end.code)
"""


@pytest.fixture
def published(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache, which holds one small file of `org/model`; the working folder is a temporary one."""
    monkeypatch.chdir(tmp_path)
    hub.add("org/model", files(write_overlay(tmp_path / "original", FAULTS)))
    hub.add("org/sharded", sharded())
    hub.add("org/adapter", adapter("org/model"))
    return Path(os.environ["HF_HUB_CACHE"])


def watched(folder: Path, *program: str) -> tuple[str, list[str]]:
    """What some code prints, and what it does to files below a folder."""
    report = Path("report.txt")
    command = [sys.executable, WATCHED, str(folder), str(report), *program]
    printed = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    return printed, report.read_text().splitlines()


def test_no_run_touches_it(published: Path) -> None:
    download("org/model", "generation_config.json")
    printed, told = watched(published, EACH, *RUNS)
    assert told == []
    assert [line for line in printed.splitlines() if line.startswith("exit")] == [f"exit {code}" for code in ENDS]
    assert Path("mended", "model.safetensors").exists()


def test_what_the_client_does_to_it_is_noticed(published: Path) -> None:
    _, told = watched(published, DOWNLOAD, "org/model", "generation_config.json")
    assert {"open", "os.mkdir"} <= {line.partition(" ")[0] for line in told}
