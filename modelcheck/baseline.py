"""A baseline: the findings that a team knows of and lives with, so that only new ones fail a run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from modelcheck.errors import UsageError
from modelcheck.fingerprint import fingerprint
from modelcheck.report import TargetReport


def write(path: Path, reports: Iterable[TargetReport]) -> int:
    """Write the fingerprints of all findings, with what a reader needs to recognise them. Returns their number."""
    entries = [
        {"fingerprint": fingerprint(r.target, f), "rule": f.slug, "target": r.target, "message": f.message}
        for r in reports
        for f in r.findings
    ]
    entries.sort(key=lambda entry: (entry["target"], entry["rule"], entry["fingerprint"]))
    path.write_text(json.dumps({"schema": 1, "findings": entries}, indent=2) + "\n", encoding="utf-8")
    return len(entries)


def read(path: Path) -> Counter[str]:
    """{fingerprint: how often it is known}. Raises UsageError where the file is no baseline."""
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
        return Counter(str(entry["fingerprint"]) for entry in document["findings"])
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; --write-baseline writes one") from None
    except (ValueError, TypeError, KeyError, RecursionError):
        raise UsageError(f"{path}: is no baseline; --write-baseline writes one") from None


def take_known(report: TargetReport, known: Counter[str]) -> None:
    """Take the known findings out of a report, counting them. Each entry of the baseline excuses one finding."""
    fresh = []
    for finding in report.findings:
        mark = fingerprint(report.target, finding)
        if known[mark] > 0:
            known[mark] -= 1
            report.known += 1
        else:
            fresh.append(finding)
    report.findings = fresh
