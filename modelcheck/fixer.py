"""Fixers: generator functions that turn a finding into edits."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from modelcheck.edit import Edit
from modelcheck.fact import Need, needs
from modelcheck.finding import Finding

# What a fixer is handed besides facts.
FINDING = "finding"


class CannotFix(Exception):
    """This finding cannot be mended by this fixer. The text says why, and what to do instead."""


Repair = Callable[..., Iterator[Edit]]


@dataclass(frozen=True)
class Fixer:
    """What `@fixer` makes of a generator: which rule's findings it mends, and whether that is safe.

    Safe is what changes metadata only, can be reversed, and changes nothing that a correct caller gets today; unsafe
    what changes tokens, prompt text, weights, types or stop behaviour. One with an `option` is asked only where the
    user named that option (`--all-untrained`).
    """

    slugs: tuple[str, ...]
    safe: bool
    option: str | None
    function: Repair

    @property
    def title(self) -> str:
        """What it does: the first line of its docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0].rstrip(".")

    @property
    def needs(self) -> tuple[Need, ...]:
        """The facts that it asks for."""
        return tuple(need for need in needs(self.function) if need.name != FINDING)

    def edits(self, finding: Finding, facts: dict[str, Any]) -> list[Edit]:
        """The edits for one finding. Raises CannotFix."""
        given = {FINDING: finding} if FINDING in inspect.signature(self.function).parameters else {}
        return list(self.function(**given, **facts))


def fixer(*slugs: str, safe: bool, option: str | None = None) -> Callable[[Repair], Fixer]:
    """Make a `Fixer` of a generator. Only marks: the engine collects marked fixers through entry points.

    Where several mend the same rule, they are asked in the order of their modules, those that are safe first; the first
    that has edits is taken.
    """

    def decorate(function: Repair) -> Fixer:
        return Fixer(slugs, safe, option, function)

    return decorate


def mended(fixers: Iterable[Fixer]) -> dict[str, str]:
    """{slug: `safe` or `unsafe`} of the rules whose findings can be mended, at least in some situations."""
    found: dict[str, str] = {}
    for fixer in sorted(fixers, key=lambda f: f.safe):
        found |= dict.fromkeys(fixer.slugs, "safe" if fixer.safe else "unsafe")
    return found
