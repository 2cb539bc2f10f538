"""What `modelcheck explain` and `modelcheck rules` print, from the rules' own docstrings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import click

from modelcheck.check import Check
from modelcheck.errors import UsageError, did_you_mean
from modelcheck.manual import HEADING


def explain(checks: Sequence[Check], wanted: str) -> str:
    """The manual of the rule with that code or slug. Raises UsageError where there is none."""
    for check in checks:
        if wanted in (check.code, check.slug, check.slug.replace("-", "_")):
            return (
                f"{click.style(f'{check.code} {check.slug}', bold=True)} ({check.severity})\n\n{_styled(check.manual)}"
            )
    known = {name for check in checks for name in (check.code, check.slug)}
    raise UsageError(f"no rule is called {wanted!r}{did_you_mean(wanted, known)}; see `modelcheck rules`")


def rules(checks: Iterable[Check]) -> str:
    """One line for each rule: code, severity, slug, title."""
    return "\n".join(
        f"{c.code}  {c.severity!s:<7}  {click.style(f'{c.slug:<26}', bold=True)}  {c.title}" for c in checks
    )


def _styled(manual: str) -> str:
    # The fences say which file an example patches; a reader needs the name, not the fence.
    text = re.sub(r"^([ \t]*)```\w+ (\S+)$", r"\1\2:", manual, flags=re.MULTILINE)
    text = re.sub(r"^[ \t]*```\n?", "", text, flags=re.MULTILINE)
    return HEADING.sub(lambda match: click.style(match[0], bold=True), text)
