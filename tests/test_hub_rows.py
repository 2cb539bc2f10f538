"""Rows of a data set of the hub, read by the real `datasets` from a hub of our own, and what preflight asks of it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from fakehub import FakeHub

# Libraries read their settings when they are imported, so a process of its own reads the rows.
CHILD = """
import json, sys
from pathlib import Path
from modelcheck.errors import UsageError
from modelcheck.finetune import hub
from modelcheck.finetune.data import read_rows
from modelcheck.finetune.job import Job
from modelcheck.finetune.job_rows import Data, Rows

def said(named):
    job = Job("tiny", Path("/jobs/modelcheck.toml"), 1, "/base", Data(named), ())
    coming, problems = hub.rows(job)
    found = {"size": sum(fetch.size for fetch in coming), "problems": problems}
    try:
        rows = () if problems else read_rows(named)
    except UsageError as error:
        return {**found, "rows": str(error)}
    return {**found, "rows": [(e.source, e.row, e.prompt[0]["content"], e.reference) for e in rows]}

asked = [Rows(**rows) for rows in json.loads(sys.argv[1])]
print(json.dumps([said(named) for named in asked]))
"""
JOB = "/jobs/modelcheck.toml:1: job.tiny.data.train"


def read(*rows: dict[str, str]) -> list[dict[str, Any]]:
    """What a child says of each: how much is to come, what is wrong, and the rows or why there are none."""
    command = [sys.executable, "-c", CHILD, json.dumps(rows)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    found: list[dict[str, Any]] = json.loads(run.stdout)
    return found


def test_rows_of_the_hub_are_read_by_split_and_revision_and_once(hub: FakeHub) -> None:
    files = {f"{split}.jsonl": f'{{"prompt": "q", "completion": "{split}"}}\n'.encode() for split in ("train", "test")}
    made = hub.add("datasets/org/rows", files)
    pinned = {"hf": "org/rows", "split": "test", "revision": made.sha}
    train, test, gone = read({"hf": "org/rows"}, pinned, {"hf": "org/rows", "split": "dev"})
    assert train == {
        "size": sum(map(len, files.values())),
        "problems": [],
        "rows": [["org/rows (train)", 1, "q", "train"]],
    }
    # What `datasets` has is not asked for again.
    assert test == {"size": 0, "problems": [], "rows": [["org/rows (test)", 1, "q", "test"]]}
    assert 'org/rows (dev): ValueError: Unknown split "dev"' in gone["rows"]


def test_what_is_not_there_is_told_by_one_question(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    [missing] = read({"hf": "org/raws"})
    [problem] = missing["problems"]
    assert problem.startswith(f"{JOB}: the data set 'org/raws' cannot be had from the hub: RepositoryNotFoundError")
    assert problem.endswith("name one that is there, log in, or bring its rows in a file (path = ...)")
    assert len([request for request in hub.requests if "org/raws" in request.path]) == 1
    hub.forget()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    [offline] = read({"hf": "org/raws"})
    assert "cannot be had from the hub: OfflineModeIsEnabled: Cannot reach " in offline["problems"][0]
    assert "offline" in offline["problems"][0]
    assert hub.requests == []
