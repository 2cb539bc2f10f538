"""Answers of SmolLM2-135M by vLLM against transformers, both cores given to each in turn.

Needs modelcheck[finetune], `python tools/fetch.py` and `python tools/vllm_env.py`. Loading is not counted.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from measure import ROOT, Row, show

from modelcheck.finetune.job import Generation
from modelcheck.finetune.prompts import Prompts
from modelcheck.finetune.stage import Failed, Worker
from modelcheck.finetune.workers import PRELOADED_BY

CACHE = ROOT / ".cache"
VLLM = CACHE / "vllm_cpu"
TURNS, PROMPTS, TOKENS = 12, 32, 32
# vLLM is made for other devices than a CPU: here it should not be in the way.
BOUND = 1.5
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_CPU_KVCACHE_SPACE": "1",
}
ENGINES: Mapping[str, Mapping[str, Any]] = {
    "vllm": {
        "backend": "vllm",
        "args": {},
        "enforce_eager": True,
        "max_model_len": 128,
        "max_num_seqs": 64,
        # A prompt that was answered before would be half the work.
        "enable_prefix_caching": False,
    },
    "transformers": {"backend": "transformers"},
}
# Both cores for whoever is asked. vLLM computes on one and keeps the other for its other processes: told to compute on
# both, it took several times as long.
ENV: Mapping[str, Mapping[str, str]] = {"vllm": {}, "transformers": {"OMP_NUM_THREADS": "2"}}
Ids = Mapping[str, list[int]]


def worker(engine: str, log: Path) -> Worker:
    """A process for one of the engines."""
    python = str(VLLM / "bin" / "python") if engine == "vllm" else None
    return Worker(log, python, {**QUIET, **ENV[engine]}, PRELOADED_BY.get(engine, ()))


def answers(worker: Worker, folder: Path, engine: str, prompts: Ids) -> tuple[float, Ids]:
    """Seconds of a request from its first byte to the last answer, and the ids by prompt.

    The model stays loaded: the first request is no measure.
    """
    found = dict[str, list[int]]()

    def hear(event: Mapping[str, Any]) -> None:
        found.update({answer["key"]: answer["ids"] for answer in event.get("answers", ())})

    request = {
        "stage": "generate",
        "keep": engine,
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
    return done.seconds, found


def compared(workers: Mapping[str, Worker], folder: Path, prompts: Ids, turns: int) -> tuple[dict[str, float], int]:
    """Fewest seconds of each engine, asked in turn while the others wait; and how many answers are equal.

    What else runs on a machine only adds to them, and most to threads that wait for each other.
    """
    first = {name: answers(workers[name], folder, name, prompts)[1] for name in workers}
    times = [{name: answers(workers[name], folder, name, prompts)[0] for name in workers} for _ in range(turns)]
    equal = sum(len({tuple(found[key]) for found in first.values()}) == 1 for key in prompts)
    return {name: min(turn[name] for turn in times) for name in workers}, equal


def rows() -> Iterator[Row]:
    """One row, where there is a vLLM; how many answers are equal is printed before it."""
    folder, chats = CACHE / "smollm2", list[list[dict[str, str]]]()
    if not VLLM.is_dir() or not folder.is_dir():
        print("    vLLM is not measured: python tools/vllm_env.py and tools/fetch.py bring what that needs")
        return
    for name in ("guard-copy", "eval"):
        lines = (ROOT / "examples" / "tiny" / f"{name}.jsonl").read_text().splitlines()[: PROMPTS // 2]
        chats += [[{"role": "user", "content": json.loads(line)["question"]}] for line in lines]
    with Prompts(folder) as made:
        prompts = {str(number): ids for number, ids in enumerate(made.ids(chats))}
    with tempfile.TemporaryDirectory() as logs, ExitStack() as stack:
        workers = {name: stack.enter_context(worker(name, Path(logs, f"{name}.log"))) for name in ENGINES}
        times, equal = compared(workers, folder, prompts, TURNS)
    print(f"    {equal} of {PROMPTS} greedy answers of {TOKENS} tokens are equal")
    what = f"{PROMPTS} answers of {TOKENS} tokens by vLLM"
    yield Row(what, times["vllm"], "by transformers", times["transformers"], BOUND)


if __name__ == "__main__":
    show(rows())
