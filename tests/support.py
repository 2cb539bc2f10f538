"""What several test files need."""

from __future__ import annotations

import json
from typing import Any

from modelcheck.finding import Finding
from modelcheck.testing import lint_overlay


def found(slug: str, **options: Any) -> list[Finding]:
    """The findings of one rule on the healthy tiny checkpoint, overlaid: found("pad-is-eos", config={...})."""
    files = {f"{name}.json": json.dumps(patch) for name, patch in options.items()}
    [report] = lint_overlay(files)
    assert report.internal == []
    return [f for f in report.findings if f.slug == slug]


def severities(findings: list[Finding]) -> list[str]:
    return [str(f.severity) for f in findings]
