"""Write docs/rules/: a page for each rule, made of its docstring, and an index by symptom. `make docs` runs it."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from modelcheck import packs
from modelcheck.check import Check
from modelcheck.manual import SYMPTOMS, sections, symptoms

PAGES = Path(__file__).parents[1] / "docs" / "rules"
FENCE = re.compile(r"^[ \t]*```(\w+) (\S+)\n(.*?)^[ \t]*```", re.MULTILINE | re.DOTALL)


def page(check: Check) -> str:
    """One rule as Markdown."""
    lines = [f"# {check.slug} ({check.code})", "", f"{check.title}.", "", f"Severity: at most {check.severity}.", ""]
    for heading, text in sections(check.manual).items():
        if heading:
            lines += [f"## {heading}", "", _markdown(text), ""]
    return "\n".join(lines)


def _markdown(text: str) -> str:
    # Examples are indented under their heading in the docstring, and name the file they are laid over.
    text = FENCE.sub(lambda m: f"`{m[2]}`\n\n```{m[1]}\n{_dedent(m[3])}```\n", text)
    text = _dedent(text).strip()
    return text[:1].upper() + text[1:]


def _dedent(text: str) -> str:
    lines = text.splitlines(keepends=True)
    margin = min((len(line) - len(line.lstrip(" ")) for line in lines if line.strip()), default=0)
    return "".join(line[margin:] if line.strip() else line for line in lines)


def index(checks: Sequence[Check]) -> str:
    """All rules by what a user sees go wrong, then by family."""
    lines = ["# Rules", "", "By what you see go wrong:", ""]
    for symptom in SYMPTOMS:
        lines += [f"## {symptom[0].upper()}{symptom[1:]}", ""]
        lines += [_entry(check) for check in checks if symptom in symptoms(check.manual)]
        lines.append("")
    lines += ["## All, by code", "", *map(_entry, checks), ""]
    return "\n".join(lines)


def _entry(check: Check) -> str:
    return f"- [{check.slug}]({check.slug}.md) ({check.code}, {check.severity}): {check.title}"


def main() -> int:
    """Write every page anew."""
    PAGES.mkdir(parents=True, exist_ok=True)
    for old in PAGES.glob("*.md"):
        old.unlink()
    checks = packs.load().checks
    for check in checks:
        (PAGES / f"{check.slug}.md").write_text(page(check), encoding="utf-8")
    (PAGES / "index.md").write_text(index(checks), encoding="utf-8")
    sys.stdout.write(f"{len(checks)} pages and an index are in {PAGES.relative_to(Path.cwd())}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
