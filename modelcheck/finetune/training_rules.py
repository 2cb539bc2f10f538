"""The rules of `modelcheck lint`, asked about a job: its data, its trainer, the folders that it saves."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from modelcheck.change import FileChange
from modelcheck.engine import Options, lint_source
from modelcheck.finding import Finding, Severity
from modelcheck.finetune.job import Job
from modelcheck.finetune.log_evidence import log_evidence
from modelcheck.names import TRAINING
from modelcheck.render.renderer import Renderer
from modelcheck.sources import Source
from modelcheck.sources.local import LocalFolder
from modelcheck.sources.planned import Planned

# What `data.leakage` may turn down, {rule: the key that does}.
LEAKAGE = {"eval-row-in-train": "exact", "eval-overlaps-train": "ngram_action"}
TURNED = {"warn": Severity.WARNING, "error": Severity.ERROR}


def of_data(job: Job, base: Path, rows: Path, audit: Mapping[str, Any]) -> list[Finding]:
    """Everything that can be told before the first step: the base with the job's template and rows, and the labels.

    `rows` is a folder with train.jsonl and eval.jsonl.
    """
    template = None if job.data.template == "tokenizer" else str(job.data.template)
    options = Options(data=str(rows), chat_template=template)
    evidence = {"labels": audit["labels"], "trainability": audit["trainability"]}
    found = _lint(_with(LocalFolder(base), evidence), str(base), options)
    return [turned for finding in found if (turned := _turned(finding, job))]


def of_training(base: Path, answer: Mapping[str, Any], log: Iterable[str]) -> list[Finding]:
    """What a run says about itself: its log, and what of the model it trained."""
    evidence = {"log": log_evidence(log), "trainability": answer["trainability"]}
    return _lint(_with(LocalFolder(base), evidence), "the training run", Options(select=("training",)))


def of_folder(folder: Path, base: Path) -> list[Finding]:
    """What a saved folder has that its base had not: the base's own faults were told before."""
    found = _lint(LocalFolder(folder), str(folder), Options(base=str(base)))
    known = {(finding.code, finding.at) for finding in _lint(LocalFolder(base), str(base), Options())}
    return [finding for finding in found if (finding.code, finding.at) not in known]


def _with(source: Source, evidence: Mapping[str, Any]) -> Source:
    return Planned(source, [FileChange(TRAINING, (json.dumps(evidence).encode(),), None)])


def _lint(source: Source, name: str, options: Options) -> list[Finding]:
    checks: Sequence[Any] = options.checks()
    with Renderer() as renderer:
        given = options.given() | {"renderer": renderer}
        report = lint_source(name, options.set_up(source), checks, given, pedantic=False)
    bugs = [Finding(text, code="FIL001", slug="internal-error") for text in report.internal]
    return [*bugs, *report.findings]


def _turned(finding: Finding, job: Job) -> Finding | None:
    """The finding as `data.leakage` wants it."""
    key = LEAKAGE.get(finding.slug)
    action = getattr(job.data.leakage, key) if key else "error"
    return None if action == "off" else dataclasses.replace(finding, severity=min(finding.severity, TURNED[action]))
