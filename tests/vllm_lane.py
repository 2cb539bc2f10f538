"""Real vLLM for the tests of its lane: its interpreter, the settings for a CPU, and the tiny job evaluated by it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from planted import tiny_job
from wide_heads import widened

from modelcheck.finetune.workers import PRELOADED_BY

# One process and one thread: on two cores, more of them stand in each other's way.
ENV = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
}
SETTINGS = {"enforce_eager": True, "max_model_len": 128, "max_num_seqs": 64}
PRELOAD = PRELOADED_BY["vllm"]
ENGINE = {"backend": "vllm", "args": {}, **SETTINGS}


def vllm_job(folder: Path, python: Path, suites: Sequence[str], *, rows: int | None = None) -> Path:
    """The tiny job with heads that vLLM's CPU attention has and some of its suites, evaluated by vLLM."""
    tiny_job(folder, rows=rows)
    narrow = (folder / "base").rename(folder / "narrow")
    widened(narrow, folder / "base")
    shutil.rmtree(narrow)
    path = folder / "modelcheck.toml"
    # An engine is started for each suite of each side: a few do.
    head, *tables = path.read_text().partition("\n[job.tiny.gate]")[0].split("[[job.tiny.suite]]\n")
    kept = [table for table in tables if table.partition("\n")[0] in [f'name = "{suite}"' for suite in suites]]
    lines = [line for line in head.splitlines() if not line.startswith("mirror")]
    lines += ['backend = "vllm"', f'python = "{python}"', f"vllm = {_inline(SETTINGS)}", f"env = {_inline(ENV)}", ""]
    path.write_text("[[job.tiny.suite]]\n".join(["\n".join(lines), *kept]))
    return folder


def memory_of_group(leader: int) -> dict[int, int]:
    """{process: resident bytes} of a process group."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            fields = (place / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # ended meanwhile
        if int(fields[2]) == leader:
            found[int(place.name)] = int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
    return found


def _inline(table: Mapping[str, object]) -> str:
    return "{ " + ", ".join(f"{key} = {json.dumps(value)}" for key, value in table.items()) + " }"
