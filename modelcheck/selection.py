"""Which rules run: selectors are a code, a family (its three letters or its folder), a slug, or ALL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from modelcheck.check import Check
from modelcheck.errors import UsageError, did_you_mean


def select(
    checks: Sequence[Check],
    selected: Iterable[str] = (),
    ignored: Iterable[str] = (),
    extended: Iterable[str] = (),
) -> list[Check]:
    """The checks that `selected` (default: all) and `extended` name, less those that `ignored` names.

    Raises UsageError for a selector that names nothing.
    """
    wanted = matching(checks, [*(selected or ["ALL"]), *extended])
    unwanted = matching(checks, ignored)
    return [c for c in checks if c in wanted and c not in unwanted]


def matching(checks: Sequence[Check], selectors: Iterable[str]) -> list[Check]:
    """The checks that any of the selectors names. Raises UsageError for one that names nothing."""
    return [check for selector in selectors for check in _named(checks, selector)]


def _named(checks: Sequence[Check], selector: str) -> list[Check]:
    if selector == "ALL":
        return list(checks)
    found = [c for c in checks if selector in names(c)]
    if not found:
        known = {name for c in checks for name in names(c)} | {"ALL"}
        raise UsageError(
            f"no rule or family is called {selector!r}{did_you_mean(selector, known)}; see `modelcheck rules`"
        )
    return found


def names(check: Check) -> tuple[str, ...]:
    """Every name that selects the check."""
    return (check.code, check.slug, check.code[:3], check.family)
