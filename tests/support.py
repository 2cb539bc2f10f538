"""What several test files need."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from modelcheck.finding import Finding
from modelcheck.testing import lint_overlay


def found(slug: str, **options: Any) -> list[Finding]:
    """The findings of one rule on the healthy tiny checkpoint, overlaid: found("pad-is-eos", config={...})."""
    return found_for(slug, (), {f"{name}.json": patch for name, patch in options.items()})


def found_for(slug: str, targets: Sequence[str], files: Mapping[str, Any]) -> list[Finding]:
    """The same for some `--target`s; files that are no text are written as JSON."""
    overlay = {name: content if isinstance(content, str) else json.dumps(content) for name, content in files.items()}
    [report] = lint_overlay(overlay, target=targets)
    assert report.internal == []
    return [f for f in report.findings if f.slug == slug]


def severities(findings: list[Finding]) -> list[str]:
    return [str(f.severity) for f in findings]
