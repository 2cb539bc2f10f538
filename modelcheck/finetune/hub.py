"""What a job has from the hub, asked for once before anything is fetched: whether it is there, how much is to come."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modelcheck.finetune.data import named_rows
from modelcheck.finetune.job import Job
from modelcheck.finetune.job_rows import Rows

# Seconds that one question may take.
PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class Fetch:
    """Bytes that are still to be fetched into a cache, and the bytes of all weights of what they belong to."""

    folder: Path
    size: int
    weights: int = 0


def models(job: Job) -> Iterator[Fetch]:
    """What is to come of base and arms. A model that cannot be asked for is left to whoever fetches it."""
    from huggingface_hub import constants

    named = {(job.base, job.revision), *((arm.model, arm.revision) for arm in job.arms)}
    for model, revision in named:
        if model is None or Path(model).is_absolute():
            continue
        there = _fetched(model, revision)
        sizes = there or _offered(model, revision)
        weights = sum(size for name, size in sizes.items() if name.endswith(".safetensors"))
        is_base = (model, revision) == (job.base, job.revision)
        yield Fetch(Path(constants.HF_HUB_CACHE), 0 if there else sum(sizes.values()), weights if is_base else 0)


def _fetched(model: str, revision: str | None) -> dict[str, int]:
    """{file: bytes} of a model that lies in the cache whole; else nothing."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(model, revision=revision, local_files_only=True))
    except (OSError, ValueError):
        return {}
    return {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()}


def _offered(model: str, revision: str | None) -> dict[str, int]:
    """{file: bytes} of a model on the hub; nothing where it cannot be asked for."""
    from huggingface_hub import HfApi

    try:
        info = HfApi().model_info(model, revision=revision, timeout=PATIENCE, files_metadata=True)
    except Exception:  # the hub's client raises what its own libraries do
        return {}
    return {file.rfilename: file.size or 0 for file in info.siblings or ()}


def rows(job: Job) -> tuple[list[Fetch], list[str]]:
    """What is to come of the job's data sets, and what is wrong with those that cannot be had."""
    coming, problems = [], []
    for key, named in named_rows(job).items():
        if named.hf is None or (cached := _cache(named)).is_dir():
            continue
        try:
            coming.append(Fetch(cached.parent, _size(named)))
        except Exception as error:  # the hub's client raises what its own libraries do
            said = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
            remedy = "name one that is there, log in, or bring its rows in a file (path = ...)"
            problems.append(f"{job.at(key)}: the data set {named.hf!r} cannot be had from the hub: {said}: {remedy}")
    return coming, problems


def _size(named: Rows) -> int:
    from huggingface_hub import HfApi

    info = HfApi().dataset_info(str(named.hf), revision=named.revision, timeout=PATIENCE, files_metadata=True)
    return sum(file.size or 0 for file in info.siblings or ())


def _cache(named: Rows) -> Path:
    """Where `datasets` keeps it: what lies there is read without a network."""
    from huggingface_hub import constants

    folder = os.environ.get("HF_DATASETS_CACHE") or Path(constants.HF_HOME, "datasets")
    return Path(folder, str(named.hf).replace("/", "___"))
