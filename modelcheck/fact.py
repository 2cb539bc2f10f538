"""Facts: typed, lazy views of a checkpoint, asked for by parameter name, and the ways in which one can be absent."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, TypeVar

F = TypeVar("F", bound=Callable[..., Any])
MARK, READS = "__modelcheck_fact__", "__modelcheck_reads__"


class Unavailable(Exception):
    """A fact has no value. Which subclass is raised decides what the report says."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NotApplicable(Unavailable):
    """This kind of checkpoint has no such thing: nothing to check, nothing to report."""


class Missing(Unavailable):
    """It should be there, or a tool is lacking: listed as could-not-check. `remedy` is what would supply it."""

    def __init__(self, reason: str, *, remedy: str | None = None) -> None:
        super().__init__(f"{reason} ({remedy})" if remedy else reason)


class Unfetched(Missing):
    """The network did not give it: could-not-check as any Missing, and the run ends as one that could not read all."""


class NotPassed(Missing):
    """What would bring it was not passed: a live object, or another part of the set-up. `argument` is its name."""

    # Parts that are no live objects: why they are not there, and what would supply them. Text after a colon in the name
    # of the argument tells more.
    PARTS: ClassVar = {
        "base": ("the base model of the adapter is not at hand", "--base DIR, or a hub id"),
        "adapter weights": ("the adapter's weights are not in the folder", "fetch adapter_model.safetensors"),
        "adapter weights on the hub": ("the repository has no adapter_model.safetensors", "push the adapter's weights"),
        "tokenizer of the GGUF": (
            "no tokenizer.json can be made of this GGUF's tokenizer, only of a known byte-level BPE or SentencePiece's",
            "lint the folder that it was converted from",
        ),
    }

    def __init__(self, argument: str) -> None:
        part, colon, more = argument.partition(": ")
        reason, remedy = self.PARTS.get(part, (f"no {argument} was passed", f"pass {argument}="))
        super().__init__(f"{reason}{colon}{more}", remedy=remedy)
        self.argument = argument


class Malformed(Unavailable):
    """A file is there and cannot be used. Reported once as a finding; what depends on it could not be checked."""

    def __init__(self, file: str, problem: str, *, at: str | None = None) -> None:
        super().__init__(f"{file}: {problem}")
        self.file, self.problem, self.at = file, problem, at


def fact(function: F) -> F:
    """Mark a function as the definition of the fact that bears its name. Its parameters are other facts."""
    setattr(function, MARK, True)
    return function


def reads(*names: str) -> Callable[[F], F]:
    """Say of a fact which small files it reads whole, where they are there: those of all facts are fetched together."""

    def say(function: F) -> F:
        setattr(function, READS, names)
        return function

    return say


@dataclass(frozen=True, slots=True)
class Need:
    """A parameter of a check or fact: optional ones (default None) are passed None where not applicable."""

    name: str
    optional: bool


@cache
def needs(function: Callable[..., Any]) -> tuple[Need, ...]:
    """The facts that `function` asks for, by its parameter names. Reading a signature costs more than most rules."""
    parameters = inspect.signature(function).parameters.values()
    return tuple(Need(p.name, optional=p.default is None) for p in parameters)
