"""The rules of `modelcheck lint`, asked about a job: its base, its rows, its trainer, the folders that it saves."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from modelcheck.change import FileChange
from modelcheck.engine import Options, lint_source
from modelcheck.finding import Finding, Severity
from modelcheck.finetune import data_audit
from modelcheck.finetune.data import JobData
from modelcheck.finetune.evidence import evidence
from modelcheck.finetune.identity import content
from modelcheck.finetune.job import Job
from modelcheck.finetune.log_evidence import log_evidence
from modelcheck.finetune.state import digest
from modelcheck.names import TRAINING
from modelcheck.render.renderer import Renderer
from modelcheck.sources.local import LocalFolder
from modelcheck.sources.planned import Planned

# What the trainer had no leave to change in what it saved, and a loss on prompts where answers were asked for:
# {rule: {its severity: how severe it is against the job}}.
AGAINST_THE_JOB: Mapping[str | None, Mapping[Severity, Severity]] = {
    "differs-from-base": {Severity.WARNING: Severity.ERROR},
    "prompt-in-loss": {Severity.WARNING: Severity.ERROR},
    "template-drift": {Severity.INFO: Severity.ERROR, Severity.WARNING: Severity.ERROR},
    "tokenizer-drift": {Severity.INFO: Severity.ERROR, Severity.WARNING: Severity.ERROR},
    "config-drift": {Severity.INFO: Severity.WARNING, Severity.WARNING: Severity.ERROR},
    "generation-drift": {Severity.INFO: Severity.WARNING},
}
# What two steps can tell of a run: how many there are of them, and how warm, is the rehearsal's own.
REHEARSED = ("learning-rate-not-applied", "non-finite-loss")


def of_files(job: Job, data: JobData, base: Path) -> list[Finding]:
    """Everything that files tell: the base, with the job's template, and the rows."""
    template = None if job.data.template == "tokenizer" else str(job.data.template)
    options = Options(chat_template=template, grammar=job.eval.grammar, ignore=("dataset",))
    return [*data_audit.audit(job, data, base).findings, *_lint(base, options)]


def of_labels(base: Path, audit: Mapping[str, Any]) -> list[Finding]:
    """What the labels of the real trainer tell, and what of the model would learn."""
    return [*_held_to_the_job(_lint(base, Options(select=("training",)), evidence(audit)))]


def of_training(base: Path, answer: Mapping[str, Any], evaluated: Mapping[str, Any], log: Path) -> list[Finding]:
    """What a run says about itself: its log, what of the model it trained, and which model that was."""
    return _lint(base, Options(select=("training",)), evidence(None, answer, log, evaluated))


def of_rehearsal(base: Path, log: Iterable[str]) -> list[Finding]:
    """What the log of the first two steps shows already."""
    return _lint(base, Options(select=REHEARSED), {"log": log_evidence(log)})


def of_folder(folder: Path, base: Path, template: str | Path) -> list[Finding]:
    """What a saved folder has that its base had not: the base's own faults were told before.

    `template` is `data.template`: a file takes the place of the base's own.
    """
    asked = {"base_chat_template": data_audit.template_of(template)} if isinstance(template, Path) else {}
    known, found = _told(base, digest(content(base))), _lint(folder, Options(base=str(base)), more=asked)
    return [*_held_to_the_job(finding for finding in found if (finding.code, finding.at) not in known)]


def of_engine(folder: Path, target: tuple[str, ...]) -> list[Finding]:
    """What stands between a folder and the engine that shall run it."""
    return _lint(folder, Options(target=target))


@lru_cache(maxsize=8)
def _told(base: Path, _: str) -> frozenset[tuple[str, str | None]]:
    """Code and place of what a base has, by its content: it is asked for once for each model that is saved from it."""
    return frozenset((finding.code, finding.at) for finding in _lint(base, Options()))


def _held_to_the_job(findings: Iterable[Finding]) -> Iterator[Finding]:
    """What may have been meant where nobody knows is worse where the job says the opposite."""
    for found in findings:
        worse = AGAINST_THE_JOB.get(found.slug, {})
        yield dataclasses.replace(found, severity=worse.get(found.severity, found.severity))


def _lint(
    folder: Path, options: Options, found: Mapping[str, Any] | None = None, more: Mapping[str, Any] | None = None
) -> list[Finding]:
    """The findings on a folder, with `found` as evidence of a training, and `more` in the place of facts."""
    checks: Sequence[Any] = options.checks()
    source = options.set_up(LocalFolder(folder))
    if found is not None:
        source = Planned(source, [FileChange(TRAINING, (json.dumps(found).encode(),), None)])
    given = {**options.given(), **(more or {})}
    with Renderer() as renderer:
        report = lint_source(str(folder), source, checks, given | {"renderer": renderer}, pedantic=False)
    bugs = [Finding(text, code="FIL001", slug="internal-error") for text in report.internal]
    return [*bugs, *report.findings]


def plain(finding: Finding) -> dict[str, Any]:
    """A finding as JSON can hold it; of low confidence there are none here."""
    return {name: getattr(finding, name) for name in ("message", "file", "at", "code", "slug")} | {
        "severity": int(finding.severity)
    }


def finding(kept: Mapping[str, Any]) -> Finding:
    """The finding that `plain` wrote."""
    return Finding(**{**kept, "severity": Severity(kept["severity"])})
