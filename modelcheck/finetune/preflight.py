"""Everything outside that a job needs, asked before the first second is spent; all that is missing in one list."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import requires
from pathlib import Path
from typing import TYPE_CHECKING

from modelcheck.dataset.example import Example
from modelcheck.errors import UsageError
from modelcheck.finetune import arms, hub, room
from modelcheck.finetune.data import named_rows
from modelcheck.finetune.evaluation import base_folder, scorer_of
from modelcheck.finetune.identity import MADE_OF
from modelcheck.finetune.job import Job
from modelcheck.finetune.serving import settings as serving
from modelcheck.finetune.stage import Failed, Worker
from modelcheck.finetune.work import Work

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

TRAINING = ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "tensorboard")
EVALUATING = {
    "transformers": ("torch", "transformers"),
    "vllm": ("vllm",),
    "openai": ("openai", "transformers"),
}
INSTALLED = {"vllm": "vllm", "openai": "modelcheck[openai]"}
# Those whose making asks somebody else, or reads what is data: they are tried elsewhere.
TRIED_ELSEWHERE = ("judge", "lm_eval")


TRIAL = Example(({"role": "user", "content": "What is 2 + 2?"},), 1, "preflight")


def problems(work: Work, training: Worker, evaluating: Worker) -> list[str]:
    """What would stop the job later, in words that say what to do."""
    job, unusable = work.job, [*room.unusable(work.root)]
    coming, unreachable = hub.rows(job)
    full = [*room.problems(job, work.root, [*coming, *hub.models(job)])]
    # What is not there yet is fetched only where there is room for it.
    models = [*_base(job, fetch=not full), *serving.problems(job.eval)]
    staged = [*(interpreters if unusable else stages)(job, training, evaluating)]
    asked = [] if unusable else work.wrong_arguments()
    # What keeps the engine from asking is said already.
    trial = [] if unusable or full or models or staged else [*_unanswered(work)]
    read = [*_files(job), *unreachable, *_scorers(job), *arms.problems(job, fetch=not full)]
    return [*unusable, *full, *read, *models, *staged, *asked, *trial]


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


def _files(job: Job) -> Iterator[str]:
    for key, rows in named_rows(job).items():
        if rows.path and not os.access(rows.path, os.R_OK):
            yield f"{job.at(key)}: {rows.path} cannot be read: name a file that is there, relative to {job.file}"
    if job.data.mirror and not any(suite.data in ("eval", "mirror") for suite in job.suites):
        yield f"{job.at('data.mirror')}: is compared with a suite on data.eval, and there is none: add one"
    if isinstance(job.data.template, Path) and not os.access(job.data.template, os.R_OK):
        yield f"{job.at('data.template')}: {job.data.template} cannot be read"


def _scorers(job: Job) -> Iterator[str]:
    for suite in job.suites:
        if suite.scorer.type not in TRIED_ELSEWHERE:
            try:
                scorer_of(job, suite)
            except UsageError as reason:
                yield str(reason)


def _base(job: Job, *, fetch: bool) -> Iterator[str]:
    if not (fetch or Path(job.base).is_absolute()):
        return
    try:
        folder = base_folder(job)
    except UsageError as reason:
        yield f"{job.at('base')}: {reason}"
        return
    weights = [*folder.glob("*.safetensors")]
    if not weights:
        yield f"{job.at('base')}: {folder} holds no safetensors files; save the model as safetensors"
    for path in sorted([*weights, *(path for path in folder.glob("*") if path.suffix in MADE_OF)]):
        if not os.access(path, os.R_OK):
            yield f"{job.at('base')}: {path} cannot be read: fetch or copy the model again, or change the permissions"


def stages(job: Job, training: Worker, evaluating: Worker) -> Iterator[str]:
    """What the interpreters of the stages lack, each started and asked; where it is no interpreter, that."""
    needed = [name for name in TRAINING if name != "tensorboard" or name in job.train.report_to]
    yield from _lacking("train", training, needed, "finetune", job, minima("finetune"))
    extra = "openai" if job.eval.backend == "openai" else "finetune"
    least = {**minima(extra), **oldest()} if job.eval.backend == "transformers" else minima(extra)
    yield from _lacking("eval", evaluating, EVALUATING[job.eval.backend], extra, job, least)


def interpreters(_: Job, training: Worker, evaluating: Worker) -> Iterator[str]:
    """Which stages have no interpreter, where nothing can be started yet."""
    for stage, worker in (("train", training), ("eval", evaluating)):
        if why := worker.missing():
            yield f"{stage}: {why}"


def _lacking(
    stage: str, worker: Worker, modules: Sequence[str], extra: str, job: Job, least: Mapping[str, SpecifierSet]
) -> Iterator[str]:
    if isinstance(started := worker.start(stage), Failed):
        yield str(started)
        return
    if lacking := [name for name in modules if name not in worker.versions]:
        yield f"{stage}: its interpreter lacks {', '.join(lacking)}: {_supplying(lacking[0], stage, job)}"
    for name in modules:
        version, wanted = worker.versions.get(name), least.get(name)
        if version and wanted and not wanted.contains(version, prereleases=True):
            yield (
                f"{stage}: its interpreter has {name} {version}, expected {wanted}: install modelcheck[{extra}] for "
                f"it, or name another one by {stage}.python"
            )


def _supplying(module: str, stage: str, job: Job) -> str:
    if module == "vllm" and job.eval.python is None:
        return (
            f'set [job.{job.name}.eval] python = "~/vllm/bin/python", an environment of its own (python -m venv ~/vllm '
            "&& ~/vllm/bin/pip install vllm): it asks for other versions of what trainers need"
        )
    what = INSTALLED.get(module, "modelcheck[finetune]")
    return f"install {what} for it, or name another one by {stage}.python"


@cache
def oldest() -> Mapping[str, SpecifierSet]:
    """{distribution: the versions that evaluation was run with}: unlike a trainer, it knows older ones, too."""
    from packaging.specifiers import SpecifierSet

    return {"transformers": SpecifierSet(">=4.57")}


@cache
def minima(extra: str) -> Mapping[str, SpecifierSet]:
    """{distribution: the versions that an extra of modelcheck's asks for}, out of its own metadata."""
    from packaging.requirements import Requirement

    asked = [Requirement(text) for text in requires("modelcheck") or ()]
    return {r.name: r.specifier for r in asked if r.marker and r.marker.evaluate({"extra": extra})}
