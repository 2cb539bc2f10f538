"""One run of the tiny job by a pytest of its own, and what it said."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

STEPS = [
    "preflight",
    "data",
    "base-last",
    "base-add",
    "base-copy",
    "base-one-word",
    "rehearse",
    "train",
    "artifact",
    "target-last",
    "guard-add",
    "guard-copy",
    "floor-one-word",
    "behaviour",
    "overfit",
]
SECRET = "hf_not-to-be-seen-by-anyone"
# The folder of a finished job, and the run.
Finished = tuple[Path, subprocess.CompletedProcess[str]]


def start(folder: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A pytest of its own over a folder, as a user would start it."""
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = dear\n")
    command = [sys.executable, "-m", "pytest", "--finetune-eval", *options]
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "CI"))}
    return subprocess.run(command, cwd=folder, env=plain | environment, capture_output=True, text=True, check=False)


def verdicts(run: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """{step: PASSED, FAILED, ...} of a verbose run."""
    return dict(re.findall(r"::([\w-]+) (?:<- \S+ )?([A-Z]{5,})", run.stdout))


def trained(folder: Path) -> list[tuple[str, int]]:
    """What a step that is repeated would write again."""
    kept = [p for p in (folder / ".modelcheck").rglob("*") if p.name in ("model.safetensors", "samples.jsonl")]
    return sorted((str(p.relative_to(folder)), p.stat().st_mtime_ns) for p in kept if "rehearsal" not in p.parts)
