"""The report for other programs. The form is a promise: `schema` counts it, and a change of meaning changes it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from modelcheck import __version__
from modelcheck.report import TargetReport


def render(reports: Iterable[TargetReport]) -> str:
    """One JSON document for all targets of a run."""
    return json.dumps({"schema": 1, "modelcheck": __version__, "targets": [_target(r) for r in reports]}, indent=2)


def _target(report: TargetReport) -> dict[str, Any]:
    return {
        "target": report.target,
        "source": report.source,
        "hub": [asdict(one) for one in report.hub],
        "error": report.error,
        "findings": [
            {
                "code": f.code,
                "slug": f.slug,
                "severity": str(f.severity),
                "confidence": str(f.confidence),
                "message": f.message,
                "file": f.file,
                "at": f.at,
                "fix": report.mended.get(f.slug),
            }
            for f in report.findings
        ],
        "skipped": [{"code": s.code, "slug": s.slug, "reason": s.reason} for s in report.skipped],
        "internal": report.internal,
        "seconds": report.seconds,
    }
