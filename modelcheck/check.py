"""Checks: generator functions marked with a code, callable from anybody's trainer."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Unpack

from modelcheck.fact import Need, needs
from modelcheck.finding import Finding, Severity
from modelcheck.objects import Objects, present

if TYPE_CHECKING:
    import os

Rule = Callable[..., Iterator[Finding]]


@dataclass(frozen=True)
class Check:
    """A rule: what `@check` makes of a generator. Calling it returns a list; an empty list is healthy."""

    code: str
    severity: Severity
    function: Rule

    @property
    def slug(self) -> str:
        """The rule's name, which reads right in "allow <slug>"."""
        return self.function.__name__.replace("_", "-")

    @property
    def family(self) -> str:
        """The package the rule's module lives in: `tokenizer`, `template`, ...; a lone module is its own."""
        return self.function.__module__.split(".")[-2:][0]

    @property
    def manual(self) -> str:
        """The docstring, dedented: the whole text of `modelcheck explain`."""
        return inspect.getdoc(self.function) or ""

    @property
    def title(self) -> str:
        """The first line of the manual."""
        return self.manual.partition("\n")[0].rstrip(".")

    @property
    def needs(self) -> tuple[Need, ...]:
        """The facts that the rule asks for."""
        return needs(self.function)

    def findings(self, arguments: dict[str, Any]) -> list[Finding]:
        """Run the rule on resolved facts. No finding is more severe than the rule."""
        return [
            replace(f, code=self.code, slug=self.slug, severity=min(f.severity, self.severity))
            for f in self.function(**arguments)
        ]

    def on(self, **facts: Any) -> list[Finding]:
        """Run the rule on facts handed in by name; those not given are derived from them.

        Raises TypeError where a needed fact can neither be found nor derived.
        """
        from modelcheck.engine import check_facts  # the engine loads the packs, which import this module

        return check_facts(self, facts)

    def __call__(self, target: str | os.PathLike[str] | None = None, **objects: Unpack[Objects]) -> list[Finding]:
        """Run the rule on a checkpoint folder or on the live objects of a trainer.

        Raises TypeError naming the object to pass where the rule cannot be answered from those given, and
        `modelcheck.UsageError` where the target cannot be read.
        """
        from modelcheck.engine import check_target

        return check_target(self, target, present(objects))


def check(code: str, *, severity: Severity) -> Callable[[Rule], Check]:
    """Make a `Check` of a generator. Only marks: the engine collects marked rules through entry points."""
    if not re.fullmatch(r"[A-Z]{3}[0-9]{3}", code):
        raise ValueError(f"{code!r} is not a rule code: three capital letters and three digits")

    def decorate(function: Rule) -> Check:
        return Check(code, severity, function)

    return decorate
