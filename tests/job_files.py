"""A small job file, and what reading a changed one gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelcheck.finetune.job import Job
from modelcheck.finetune.job_file import JobFileError, read_jobs

SMALL = """\
[job.tiny]
base = "base"
dtype = "float32"
timeout = "90m"

[job.tiny.data]
train = { path = "data/train.jsonl" }
eval = { path = "data/eval.jsonl", cluster = "source" }
columns = { prompt = "{title}: {question}", answer = "answer" }

[[job.tiny.suite]]
name = "copy"
role = "guard"
margin = 0.05
scorer = { type = "exact", normalize = ["strip"] }
"""


def read(folder: Path, text: str, name: str = "modelcheck.toml") -> dict[str, Job]:
    (folder / name).write_text(text)
    return read_jobs(folder / name)


def errors(folder: Path, text: str, name: str = "modelcheck.toml") -> list[str]:
    """The errors, each from its line on: `8: job.tiny...`."""
    with pytest.raises(JobFileError) as raised:
        read(folder, text, name)
    assert all(error.startswith(f"{folder / name}:") for error in raised.value.errors)
    return [error.removeprefix(f"{folder / name}:") for error in raised.value.errors]
