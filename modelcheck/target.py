"""What a checkpoint must work with: `transformers>=5`, `vllm==0.33`, `llama.cpp`, ..."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from modelcheck.errors import UsageError, did_you_mean

RUNTIMES = ("transformers", "vllm", "llama.cpp", "ollama", "tgi", "trl")


@dataclass(frozen=True, slots=True)
class Target:
    """One runtime, with an optional bound on its version: operator is '', '<', '<=', '==', '>=' or '>'."""

    runtime: str
    operator: str = ""
    version: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Targets:
    """The runtimes that a run is about. Empty means: nobody said, judge for transformers of today."""

    named: tuple[Target, ...] = ()

    @classmethod
    def parse(cls, specifications: Iterable[str]) -> Targets:
        """Raises UsageError for an unknown runtime or an unreadable version."""
        return cls(tuple(map(_parse, specifications)))

    def __contains__(self, runtime: str) -> bool:
        return any(t.runtime == runtime for t in self.named)

    @property
    def first(self) -> str:
        """The runtime whose view of the files is taken where runtimes differ."""
        return self.named[0].runtime if self.named else "transformers"


def _parse(specification: str) -> Target:
    match = re.fullmatch(r"([a-z.]+?)(?:(<=|>=|==|<|>)([0-9]+(?:\.[0-9]+)*))?", specification.replace(" ", ""))
    name = match[1] if match else specification
    if not match or name not in RUNTIMES:
        expected = f"expected one of {', '.join(RUNTIMES)}, with a version bound like >=5"
        raise UsageError(f"--target {specification!r}: {expected}{did_you_mean(name, RUNTIMES)}")
    return Target(name, match[2] or "", tuple(map(int, match[3].split("."))) if match[3] else ())
