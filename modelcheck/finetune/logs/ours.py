"""samples.jsonl, as the fine-tune suite writes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelcheck.finetune import samples
from modelcheck.finetune.logs.record import UNNAMED, Log, Record, obj


def recognises(first: Mapping[str, Any]) -> bool:
    """Whether a file's first line is one of ours."""
    return {"item", "answer", "score"} <= first.keys()


def read(path: Path) -> Log:
    """The one suite of the file, and what the manifest beside it says of the run, but for the weights.

    Prompts are token ids, which the gate compares itself.
    """
    manifest = path.parent / "manifest.json"
    settings = obj(manifest.read_bytes(), str(manifest)) if manifest.is_file() else {}
    settings.pop("weights", None)
    found = (Record(sample=s, scores={"score": s.score}, columns=s.metadata) for s in samples.read(path))
    return Log(path, UNNAMED, tuple(found), settings)
