"""What a checkpoint must work with: `transformers>=5`, `vllm==0.33`, `llama.cpp`, ..., several at once."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from modelcheck.errors import UsageError, did_you_mean
from modelcheck.finding import Severity

RUNTIMES = ("transformers", "vllm", "llama.cpp", "ollama", "tgi", "trl")
Version = tuple[int, ...]
# Versions are compared with as many components as the longest that anybody writes.
COMPONENTS = 4
NEWEST = (1 << 30,)


@dataclass(frozen=True, slots=True)
class Target:
    """One runtime, with an optional bound on its version: operator is '', '<', '<=', '==', '>=' or '>'."""

    runtime: str
    operator: str = ""
    version: Version = ()

    @property
    def versions(self) -> tuple[Version, Version]:
        """The first version that is meant and the first that no longer is. `==0.33` means every 0.33.x.

        Without a bound it is the newest there is, of today and of tomorrow.
        """
        after = (*self.version[:-1], self.version[-1] + 1) if self.version else NEWEST
        match self.operator:
            case "<":
                return (), self.version
            case "<=":
                return (), after
            case "==":
                return self.version, after
            case ">=":
                return self.version, NEWEST
            case ">":
                return (*self.version, 1), NEWEST
            case _:
                return NEWEST, NEWEST

    def may_be(self, *, at_least: Version = (), below: Version = NEWEST) -> bool:
        """Whether one of the versions meant lies in [at_least, below)."""
        first, stop = map(_padded, self.versions)
        if first == stop:
            return first >= _padded(at_least) and below == NEWEST
        return max(first, _padded(at_least)) < min(stop, _padded(below))

    def __str__(self) -> str:
        return f"{self.runtime}{self.operator}{'.'.join(map(str, self.version))}"


@dataclass(frozen=True, slots=True)
class Targets:
    """The runtimes that a run is about. Empty means: nobody said, judge for the runtimes of today."""

    named: tuple[Target, ...] = ()

    @classmethod
    def parse(cls, specifications: Iterable[str]) -> Targets:
        """Raises UsageError for an unknown runtime or an unreadable version."""
        return cls(tuple(map(_parse, specifications)))

    def __contains__(self, runtime: str) -> bool:
        return any(t.runtime == runtime for t in self.named)

    def __bool__(self) -> bool:
        return bool(self.named)

    @property
    def first(self) -> str:
        """The runtime whose view of the files is taken where runtimes differ."""
        return self.named[0].runtime if self.named else "transformers"

    def includes(self, *runtimes: str) -> bool:
        """Whether one of the runtimes was named, in any version."""
        return any(t.runtime in runtimes for t in self.named)

    def may_be(self, runtime: str, *, at_least: Version = (), below: Version = NEWEST) -> bool:
        """Whether the runtime was named in a way that a version in [at_least, below) satisfies."""
        return any(t.runtime == runtime and t.may_be(at_least=at_least, below=below) for t in self.named)

    def asked(self, runtime: str) -> Target | None:
        """The first target of that runtime, or None where it was not named."""
        return next((t for t in self.named if t.runtime == runtime), None)

    def severity(
        self, *runtimes: str, named: Severity = Severity.ERROR, unnamed: Severity | None = None
    ) -> Severity | None:
        """How bad a fault is that bites these runtimes: `named` if one was named, `unnamed` if nobody named any.

        None, so nothing to say, for whoever named others.
        """
        if self.includes(*runtimes):
            return named
        return None if self.named else unnamed


def _padded(version: Version) -> Version:
    return (*version, *(0,) * (COMPONENTS - len(version)))


def _parse(specification: str) -> Target:
    match = re.fullmatch(r"([a-z.]+?)(?:(<=|>=|==|<|>)([0-9]+(?:\.[0-9]+)*))?", specification.replace(" ", ""))
    name = match[1] if match else specification
    if not match or name not in RUNTIMES:
        expected = f"expected one of {', '.join(RUNTIMES)}, with a version bound like >=5"
        raise UsageError(f"--target {specification!r}: {expected}{did_you_mean(name, RUNTIMES)}")
    return Target(name, match[2] or "", tuple(map(int, match[3].split("."))) if match[3] else ())
