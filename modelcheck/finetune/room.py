"""Room on the disks that a job really uses: beside its file, in the hub's caches, and where temporary files go."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from modelcheck.finetune.hub import Fetch
from modelcheck.finetune.job import Job

# Adapter, two checkpoints with their optimizer, the merged model and the one being written, over the base's size.
COPIES = 3
LEAST, TEMPORARY = 200 << 20, 64 << 20


def unusable(root: Path) -> Iterator[str]:
    """Why the folder of results cannot be written."""
    if root.exists() and not root.is_dir():
        yield f"{root}: is a file, and results are kept in a folder of that name: move it away"
    elif not os.access(existing(root), os.W_OK):
        yield f"{root}: cannot be written: results are kept beside the job file: move it, or change the permissions"


def problems(job: Job, root: Path, fetches: Iterable[Fetch]) -> Iterator[str]:
    """Disks that are too full; what lies on one disk is added up."""
    fetches = [*fetches]
    base = Path(job.base)
    weights = sum(path.stat().st_size for path in base.glob("*.safetensors") if path.exists()) if base.is_dir() else 0
    needed = {root: LEAST + COPIES * (weights + sum(fetch.weights for fetch in fetches))}
    for fetch in fetches:
        needed[fetch.folder] = needed.get(fetch.folder, 0) + fetch.size
    temporary = Path(tempfile.gettempdir())
    needed[temporary] = needed.get(temporary, 0) + TEMPORARY
    disks: dict[int, list[Path]] = {}
    for path in needed:
        disks.setdefault(existing(path).stat().st_dev, []).append(path)
    for paths in disks.values():
        size, free = sum(needed[path] for path in paths), shutil.disk_usage(existing(paths[0])).free
        if free < size:
            yield (
                f"{', '.join(map(str, paths))}: {free / 1e9:.1f} GB free, about {size / 1e9:.1f} GB needed: free some, "
                "or use another disk: move the job file, set HF_HOME, set TMPDIR"
            )


def existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    return path if path.exists() else existing(path.parent)
