"""The rules on data sets, run on a job's rows and its base before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from modelcheck.dataset.limit import RowLimit
from modelcheck.engine import Options, lint_source
from modelcheck.facts.chat_template import Template
from modelcheck.facts.dataset import Dataset, Split
from modelcheck.facts.skill import Skill
from modelcheck.finding import Finding, Severity
from modelcheck.finetune.data import JobData
from modelcheck.finetune.job import Job
from modelcheck.render.renderer import Renderer
from modelcheck.report import TargetReport
from modelcheck.sources.local import LocalFolder

# The rules whose severity the job decides, and by which key.
EXACT, OVERLAP = "eval-row-in-train", "eval-overlaps-train"


def facts(job: Job, data: JobData) -> dict[str, Any]:
    """What the job says in the place of facts of the same names: all of its rows, where they are cut, the template."""
    train = Split("train", data.own[0].source, data.train)
    held_out = Split("eval", data.eval[0].source if data.eval else "the suites", data.held_out)
    theirs = held_out if data.held_out else None
    given: dict[str, Any] = {
        "dataset": Dataset(train, theirs, job.eval.template_args, job.data.leakage.ngram, data.replayed),
        "skill": _skill(job, data),
        "row_limit": RowLimit(job.data.max_length, "data.max_length", binding=job.data.on_truncate == "error"),
    }
    if isinstance(job.data.template, Path):
        given["chat_template"] = template_of(job.data.template)
    return given


def _skill(job: Job, data: JobData) -> Skill:
    """The rows that are not replayed, and what the targets ask."""
    targets = (suite for suite in job.suites if suite.role == "target" and suite.data not in ("eval", "mirror"))
    asked = data.eval + tuple(row for suite in targets for row in data.suites[suite.name])
    return Skill(Split("train", data.own[0].source, data.own), Split("eval", "the targets", asked))


def template_of(file: Path) -> dict[str, Template]:
    """The fact `chat_template` that a file of its own stands for."""
    return {"default": Template(file.read_text(encoding="utf-8"), str(file), None)}


def audit(job: Job, data: JobData, base: Path) -> TargetReport:
    """The findings of `checks/dataset/` on the job's rows, as severe as the job's `leakage` says.

    `base` is the folder of the base model. Raises UsageError where it cannot be read.
    """
    options = Options(select=["dataset"])
    with Renderer() as renderer:
        given = {**options.given(), **facts(job, data), "renderer": renderer}
        source = options.set_up(LocalFolder(base), base)
        report = lint_source(job.name, source, options.checks(), given, options.pedantic)
    report.findings = [*_as_told(job, report.findings)]
    return report


def _as_told(job: Job, findings: list[Finding]) -> Iterator[Finding]:
    actions = {EXACT: job.data.leakage.exact, OVERLAP: job.data.leakage.ngram_action}
    for finding in findings:
        action = actions.get(finding.slug)
        if action == "error":
            yield finding if finding.slug == EXACT else replace(finding, severity=Severity.ERROR)
        elif action == "warn":
            yield replace(finding, severity=min(finding.severity, Severity.WARNING))
        elif action is None:
            yield finding
