"""Puts together what the stages found, in the form that the `training` facts read: training_evidence.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelcheck.names import TRAINING

from .identity import differences
from .log_evidence import log_evidence


def evidence(
    audit: Mapping[str, Any] | None = None,
    trained: Mapping[str, Any] | None = None,
    log: Path | None = None,
    evaluated: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The evidence of a job so far.

    `audit` is what the stage of that name answered, `trained` what `train` did, `log` its log.jsonl, `evaluated` the
    identity of the base that was evaluated. What the run really trained takes the place of what the audit foresaw.
    """
    found: dict[str, Any] = {}
    if audit:
        found |= {"labels": audit["labels"], "trainability": audit["trainability"]}
    if trained:
        found["trainability"] = trained["trainability"]
        if evaluated:
            found["bases"] = {"differences": differences(evaluated, trained["loaded"])}
    if log and log.is_file():
        found["log"] = log_evidence(log.read_text(encoding="utf-8").splitlines())
    return found


def write_evidence(folder: Path, found: Mapping[str, Any]) -> Path:
    """Write it into a folder, for `modelcheck lint` to read beside whatever else lies there."""
    path = folder / TRAINING
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return path
