"""The forms of a report. Text is written target by target; the others are one document for the whole run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from modelcheck.packs import Catalogue
from modelcheck.report import TargetReport

if TYPE_CHECKING:
    from modelcheck.run import Run


def document(form: str, reports: Iterable[TargetReport], catalogue: Catalogue, run: Run) -> str:
    """The whole run as JSON, SARIF, a page of HTML or GitHub workflow commands."""
    if form == "json":
        from . import json

        return json.render(reports)
    if form == "sarif":
        from . import sarif

        return sarif.render(reports, catalogue.checks)
    if form == "html":
        from . import html

        return html.render(reports, catalogue, run)
    from . import github

    return github.render(reports)


def statistics(reports: Iterable[TargetReport]) -> str:
    """How often each rule fired, the most frequent first."""
    counts = Counter((f.code, f.slug) for report in reports for f in report.findings)
    return "\n".join(
        f"{n:>6}  {code}  {slug}" for (code, slug), n in sorted(counts.items(), key=lambda i: (-i[1], i[0]))
    )
