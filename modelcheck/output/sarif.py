"""The report as SARIF 2.1.0, which code scanning services read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from modelcheck import __version__
from modelcheck.check import Check
from modelcheck.finding import Finding, Severity
from modelcheck.fingerprint import fingerprint
from modelcheck.report import TargetReport
from modelcheck.sources.hub_cache import endpoint

from .places import line_and_column, path_of

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}


def render(reports: Iterable[TargetReport], checks: Sequence[Check]) -> str:
    """One SARIF log with one run: its rules, a result for each finding, and what could not be done."""
    gathered = list(reports)
    index = {check.code: i for i, check in enumerate(checks)}
    run: dict[str, Any] = {
        "tool": {"driver": {"name": "modelcheck", "version": __version__, "rules": [_rule(c) for c in checks]}},
        "invocations": [_invocation(gathered)],
        "results": [_result(r, f, index) for r in gathered for f in r.findings],
    }
    if commits := [one for report in gathered for one in report.hub]:
        run["versionControlProvenance"] = [
            {"repositoryUri": f"{endpoint()}/{one.id}", "revisionId": one.sha} for one in dict.fromkeys(commits)
        ]
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2)


def _rule(check: Check) -> dict[str, Any]:
    return {
        "id": check.code,
        "name": check.slug,
        "shortDescription": {"text": check.title},
        "fullDescription": {"text": check.title},
        "help": {"text": check.manual},
        "defaultConfiguration": {"level": LEVELS[check.severity]},
    }


def _result(report: TargetReport, finding: Finding, index: dict[str, int]) -> dict[str, Any]:
    return {
        "ruleId": finding.code,
        "ruleIndex": index[finding.code],
        "level": LEVELS[finding.severity],
        "message": {"text": finding.message},
        "locations": [_location(report, finding)],
        "partialFingerprints": {"modelcheck/v1": fingerprint(report.target, finding)},
        "properties": {"confidence": str(finding.confidence), "target": report.target},
    }


def _location(report: TargetReport, finding: Finding) -> dict[str, Any]:
    folder = Path(report.target)
    physical: dict[str, Any] = {"artifactLocation": {"uri": _uri(path_of(folder, finding))}}
    if place := line_and_column(folder, finding):
        physical["region"] = {"startLine": place[0], "startColumn": place[1]}
    location: dict[str, Any] = {"physicalLocation": physical}
    if finding.at:
        kind = "member" if finding.at.startswith("/") else "element"
        location["logicalLocations"] = [{"fullyQualifiedName": finding.at, "kind": kind}]
    return location


def _uri(path: Path) -> str:
    from urllib.parse import quote

    return quote(path.as_posix(), safe="/:")


def _invocation(reports: Sequence[TargetReport]) -> dict[str, Any]:
    broken = [(r.target, text, "error") for r in reports for text in (*r.internal, *([r.error] if r.error else []))]
    skipped = [(r.target, f"could not check {s.slug}: {s.reason}", "note") for r in reports for s in r.skipped]
    notes = [{"level": level, "message": {"text": f"{target}: {text}"}} for target, text, level in (*broken, *skipped)]
    return {"executionSuccessful": not broken, "toolExecutionNotifications": notes}
