"""Why an engine gave up: its own words, the setting that helps, and the findings that explain it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from modelcheck import packs
from modelcheck.errors import UsageError
from modelcheck.finding import Finding, Severity
from modelcheck.finetune import training_rules
from modelcheck.finetune.engines import transformers_failures, vllm_failures
from modelcheck.finetune.job import Eval
from modelcheck.finetune.stage import Failed
from modelcheck.manual import SYMPTOMS, symptoms
from modelcheck.target import RUNTIMES

LOADING = SYMPTOMS[4]
# {backend: what helps against what it printed, or None}.
REMEDIES: Mapping[str, Callable[[str], str | None]] = {
    "transformers": transformers_failures.remedy,
    "vllm": vllm_failures.remedy,
}
# What the engine itself came to, where the folder may be the reason.
OF_THE_ENGINE = ("refused", "crashed", "killed")


class StageFailed(UsageError):
    """A stage that a worker could not carry out. The text is all that is known about it, `findings` may explain it."""

    def __init__(self, message: str, findings: tuple[Finding, ...] = ()) -> None:
        super().__init__(message)
        self.findings = findings


def refusal(answer: Failed, evaluation: Eval, versions: Mapping[str, str], folder: Path | None) -> StageFailed:
    """A failed `generate`, for the model in `folder`, under an interpreter with these versions."""
    backend, printed = evaluation.backend, f"{answer.message}\n{answer.printed}\n{answer.served}"
    if evaluation.served_by("vllm"):
        remedy = vllm_failures.remedy(printed, served=True)
        # Our client's interpreter says nothing of the server's version.
        target = _target("vllm", {})
    else:
        remedy = REMEDIES[backend](printed) if backend in REMEDIES else None
        target = _target(backend, versions)
    if folder is None or answer.kind not in OF_THE_ENGINE:
        return StageFailed(answer.told(remedy))
    return StageFailed(answer.told(remedy), tuple(_explaining(folder, target)))


def _target(backend: str, versions: Mapping[str, str]) -> tuple[str, ...]:
    if backend not in RUNTIMES:
        return ()
    number = re.match(r"[0-9]+(\.[0-9]+)*", versions.get(backend, ""))
    return (f"{backend}=={number[0]}" if number else backend,)


def _explaining(folder: Path, target: tuple[str, ...]) -> list[Finding]:
    """What rules say about the folder and this engine that makes loading fail."""
    loading = {check.code for check in packs.load().checks if LOADING in symptoms(check.manual)}
    found = training_rules.of_engine(folder, target)
    return [finding for finding in found if finding.code in loading and finding.severity >= Severity.WARNING]
