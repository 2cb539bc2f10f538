"""Real vLLM for the tests of its lane: settings for a CPU, the tiny job evaluated by it, answers held side by side."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetuning import GREEDY
from planted import interpreter, results, say, tiny_job
from wide_heads import widened

from modelcheck.finetune.stage import Done, Worker
from modelcheck.finetune.workers import PRELOADED_BY

# By prompt: what came back, as a worker tells it.
Answers = Mapping[str, Mapping[str, Any]]
Ids = Mapping[str, list[int]]
Figure = Callable[[str, object], None]

QUIET = {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
# One process and one thread: on two cores, more of them stand in each other's way.
IN_PROCESS = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "OMP_NUM_THREADS": "1", **QUIET}
# As vLLM runs where nobody says otherwise.
DEFAULT = {"VLLM_ENABLE_V1_MULTIPROCESSING": "1", **QUIET}
SETTINGS = {"enforce_eager": True, "max_model_len": 128, "max_num_seqs": 64}
PRELOAD = PRELOADED_BY["vllm"]
ENGINE = {"backend": "vllm", "args": {}, **SETTINGS}
LIMIT = 300.0
# Data files of the tiny job whose rows nothing was trained on.
HELD_OUT = ("eval", "guard-add", "guard-copy")


@dataclass(frozen=True)
class Ran:
    """A job that was run: its folder, and (passed, failed or skipped, message) by step."""

    folder: Path
    steps: Mapping[str, tuple[str, str]]

    @property
    def base(self) -> Path:
        return self.folder / "base"

    @property
    def tuned(self) -> Path:
        [merged] = (self.folder / ".modelcheck" / "tiny").glob("run-*/merged")
        return merged


def vllm_job(folder: Path, python: Path, env: Mapping[str, str], *, rows: int | None = None) -> Path:
    """The tiny job with heads that vLLM's CPU attention has, evaluated by vLLM."""
    tiny_job(folder, rows=rows)
    narrow = (folder / "base").rename(folder / "narrow")
    widened(narrow, folder / "base")
    shutil.rmtree(narrow)
    table = f"""[job.tiny.eval]
backend = "vllm"
python = "{python}"
vllm = {_inline(SETTINGS)}
env = {_inline(env)}
"""
    say("[job.tiny.eval]\n", table)(folder)
    return folder


def rehearsed(folder: Path, fault: str, known: Ran) -> tuple[str, str]:
    """What `rehearse` comes to when the trainer runs with a fault; what the base answers is known from another run."""
    interpreter(fault)(folder)
    shutil.copytree(known.folder / ".modelcheck" / "cache", folder / ".modelcheck" / "cache")
    return results(folder, "-k", "rehearse")["tiny"]["rehearse"]


def answers(worker: Worker, folder: Path, prompts: Ids, **changes: Any) -> dict[str, Any]:
    """What a worker answers. Like a job's, requests for one engine that follow each other load it once."""
    found: dict[str, Any] = {}

    def hear(event: Mapping[str, Any]) -> None:
        found.update({answer["key"]: answer for answer in event.get("answers", ())})

    request = {
        "stage": "generate",
        "folder": str(folder),
        "dtype": "float32",
        "gen": GREEDY,
        "stop_ids": [2],
        **changes,
    }
    request["keep"] = json.dumps([request[key] for key in ("folder", "dtype", "engine")])
    request["prompts"] = {key: {"ids": ids} for key, ids in prompts.items()}
    answer = worker.ask(request, LIMIT, hear)
    assert isinstance(answer, Done), str(answer)
    return found


def margins(model: Any, prompts: Ids, left: Answers, right: Answers) -> dict[str, float]:
    """{key: how far apart, in log probability, the two tokens are at which two answers part}."""
    import torch

    found = {}
    for key in left:
        one, other = ([*side[key]["ids"], 2] for side in (left, right))
        if one == other:
            continue
        at = next(i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
        with torch.inference_mode():
            after = model(torch.tensor([prompts[key] + one[:at]])).logits[0, -1].float().log_softmax(-1)
        found[key] = abs(float(after[one[at]] - after[other[at]]))
    return found


def hold_against(
    what: str, model: Path, prompts: Ids, ours: Answers, theirs: Answers, figure: Figure, dtype: str = "float32"
) -> None:
    """Assert that the answers of a model are equal on 99 % of prompts, and part only where nobody could tell."""
    from transformers import AutoModelForCausalLM

    assert ours.keys() == theirs.keys() == prompts.keys()
    same = [{key: (side[key]["ids"], side[key]["finish"]) for key in prompts} for side in (ours, theirs)]
    equal = sum(same[0][key] == same[1][key] for key in prompts)
    apart = margins(AutoModelForCausalLM.from_pretrained(model, dtype=dtype), prompts, ours, theirs)
    widest = max(apart.values(), default=0.0)
    told = f"{len(apart)} part, at tokens at most {widest:.4f} apart in log probability"
    figure("figure", f"{what}: {equal} of {len(prompts)} greedy answers are those of transformers; {told}")
    assert equal >= 0.99 * len(prompts)
    # Both tokens are as likely as roundings of the dtype let anybody tell.
    assert widest <= {"float32": 1e-3, "bfloat16": 0.15}[dtype]


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
