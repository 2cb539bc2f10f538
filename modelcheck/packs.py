"""Load checks, facts and fixers from entry points, ours and third parties' alike; refuse what is wrongly written."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

from modelcheck.check import Check
from modelcheck.errors import PackError, did_you_mean
from modelcheck.fact import MARK, needs
from modelcheck.fixer import FINDING, Fixer
from modelcheck.malformed import malformed_file

# What the engine itself hands in; every other fact has a definition in a pack.
ROOTS = frozenset({"source", "base_source", "target", "weights", "renderer"})


@dataclass(frozen=True)
class Catalogue:
    """Every known check, by code, the definition of every known fact, and every fixer."""

    checks: tuple[Check, ...]
    facts: Mapping[str, Callable[..., Any]]
    fixers: tuple[Fixer, ...] = ()


@functools.cache
def load() -> Catalogue:
    """The catalogue of the installed packs. Raises PackError naming file and line of what is wrong."""
    facts: dict[str, Callable[..., Any]] = {}
    for definition in (f for module in _modules("modelcheck.facts") for f in _facts(module)):
        first = facts.setdefault(definition.__name__, definition)
        if first is not definition:
            name = definition.__name__
            raise PackError(f"{place(definition)}: the fact {name!r} is already defined at {place(first)}")
    # A check that two modules export is one check.
    found = dict.fromkeys(c for module in _modules("modelcheck.checks") for c in _checks(module))
    checks = sorted([malformed_file, *found], key=lambda c: c.code)
    fixers = tuple(dict.fromkeys(f for module in _modules("modelcheck.fixers") for f in _fixers(module)))
    validate(checks, facts, fixers)
    return Catalogue(tuple(checks), facts, fixers)


def uses(checks: Iterable[Check], wanted: str, facts: Mapping[str, Callable[..., Any]]) -> bool:
    """Whether any of the checks needs the fact, directly or through other facts."""
    return wanted in behind({need.name for check in checks for need in check.needs}, facts)


def behind(names: Iterable[str], facts: Mapping[str, Callable[..., Any]]) -> set[str]:
    """The facts of these names and those that they need, directly or through others."""
    found, seen = set(names), set[str]()
    while found:
        seen |= found
        found = {need.name for name in found if name in facts for need in needs(facts[name])} - seen
    return seen


def validate(checks: Iterable[Check], facts: Mapping[str, Callable[..., Any]], fixers: Iterable[Fixer] = ()) -> None:
    """Refuse an unknown fact or rule (with the nearest name), a cycle (with its chain), a code or slug used twice."""
    taken: dict[str, Check] = {}
    for check in checks:
        for name in (check.code, check.slug):
            if other := taken.get(name):
                owner = f"{other.code} {other.slug} of {place(other.function)}"
                raise PackError(f"{place(check.function)}: {name} is already {owner}")
            taken[name] = check
    for fixer in fixers:
        for slug in fixer.slugs:
            if slug not in taken:
                known = did_you_mean(slug, [c.slug for c in taken.values()])
                raise PackError(f"{place(fixer.function)}: unknown rule {slug!r}{known}")
    for function in [*(c.function for c in taken.values()), *(f.function for f in fixers), *facts.values()]:
        for need in needs(function):
            if need.name not in facts and need.name not in {*ROOTS, FINDING}:
                known = did_you_mean(need.name, [*facts, *ROOTS])
                raise PackError(f"{place(function)}: unknown fact {need.name!r}{known}")
    for name in facts:
        _refuse_cycle(name, facts, ())


def _refuse_cycle(name: str, facts: Mapping[str, Callable[..., Any]], chain: tuple[str, ...]) -> None:
    if name in chain:
        cycle = " -> ".join([*chain[chain.index(name) :], name])
        raise PackError(f"{place(facts[name])}: facts need each other in a circle: {cycle}")
    for need in needs(facts[name]) if name in facts else ():
        _refuse_cycle(need.name, facts, (*chain, name))


def place(function: Callable[..., Any]) -> str:
    """`file:line` of a definition."""
    function = inspect.unwrap(function)
    return f"{function.__code__.co_filename}:{function.__code__.co_firstlineno}"


def _modules(group: str) -> Iterator[ModuleType]:
    for entry in sorted(entry_points(group=group), key=lambda e: e.name):
        yield entry.load()


def _checks(module: ModuleType) -> Iterator[Check]:
    return (value for value in vars(module).values() if isinstance(value, Check))


def _fixers(module: ModuleType) -> Iterator[Fixer]:
    return (value for value in vars(module).values() if isinstance(value, Fixer))


def _facts(module: ModuleType) -> Iterator[Callable[..., Any]]:
    return (value for value in vars(module).values() if hasattr(value, MARK))
