"""Everything outside that a job needs, asked before the first second is spent; all that is missing in one list."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from modelcheck.dataset.example import Example
from modelcheck.errors import UsageError
from modelcheck.finetune.evaluation import base_folder
from modelcheck.finetune.job import Job, Rows
from modelcheck.finetune.serving import settings as serving
from modelcheck.finetune.stage import Failed, Worker
from modelcheck.finetune.work import Work

# Adapter, two checkpoints with their optimizer, the merged model and the one being written, over the base's size.
COPIES = 3
LEAST = 200 << 20
TRAINING = ("torch", "transformers", "trl", "peft", "datasets")
EVALUATING = {
    "transformers": ("torch", "transformers"),
    "vllm": ("vllm",),
    "openai": ("openai", "transformers"),
}
INSTALLED = {"vllm": "vllm", "openai": "modelcheck[openai]"}
TRIAL = Example(({"role": "user", "content": "What is 2 + 2?"},), 1, "preflight")


def problems(work: Work, training: Worker, evaluating: Worker) -> list[str]:
    """What would stop the job later, in words that say what to do."""
    job = work.job
    found = [*_base_and_disk(job, work.root), *_workers(job, training, evaluating), *serving.problems(job.eval)]
    # What keeps the engine from asking is said already.
    return [*_data(job), *(found or _unanswered(work))]


def _unanswered(work: Work) -> Iterator[str]:
    """What becomes of one question to a server that runs, put by the engine: for its key, its model and what it takes.

    A server that `serve` starts is not there yet.
    """
    server = work.job.eval.openai
    if server is None or server.serve or work.job.eval.backend != "openai":
        return
    try:
        [ids] = work.prompts(work.base).ids([TRIAL.prompt])
        work.answers_of(work.base, [(TRIAL, ids)])
    except UsageError as reason:
        yield f"eval.openai: {reason}"


def _data(job: Job) -> Iterator[str]:
    named = {"data.train": job.data.train, "data.eval": job.data.eval}
    named |= {"data.replay": job.data.replay.rows if job.data.replay else None}
    named |= {f"suite {suite.name}": suite.data for suite in job.suites if isinstance(suite.data, Rows)}
    for key, rows in named.items():
        if rows and rows.path and not os.access(rows.path, os.R_OK):
            yield f"{key}: {rows.path} cannot be read: name a file that is there, relative to {job.file}"
    if job.data.mirror and not any(suite.data == "eval" for suite in job.suites):
        yield f"{job.file}:{job.line}: data.mirror is compared with a suite on data.eval, and there is none: add one"
    if isinstance(job.data.template, Path) and not os.access(job.data.template, os.R_OK):
        yield f"data.template: {job.data.template} cannot be read"


def _base_and_disk(job: Job, root: Path) -> Iterator[str]:
    size = LEAST
    try:
        folder = base_folder(job)
        size += COPIES * sum(path.stat().st_size for path in folder.glob("*.safetensors"))
        if not any(folder.glob("*.safetensors")):
            yield f"base: {folder} holds no safetensors files; save the model as safetensors"
    except UsageError as reason:
        yield str(reason)
    free = shutil.disk_usage(_existing(root)).free
    if free < size:
        yield f"{root}: {free / 1e9:.1f} GB free, about {size / 1e9:.1f} GB needed: free some, or move the job file"
    if not os.access(_existing(root), os.W_OK):
        yield f"{root}: cannot be written: results are kept beside the job file"


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)


def _workers(job: Job, training: Worker, evaluating: Worker) -> Iterator[str]:
    needed = EVALUATING.get(job.eval.backend, ())
    for stage, worker, modules in (("train", training, TRAINING), ("eval", evaluating, needed)):
        if isinstance(started := worker.start(stage), Failed):
            yield str(started)
            continue
        if lacking := [name for name in modules if name not in worker.versions]:
            what = INSTALLED.get(lacking[0], "modelcheck[finetune]")
            yield (
                f"{stage}: its interpreter lacks {', '.join(lacking)}: install {what} for it, or name another one by "
                f"{stage}.python"
            )
