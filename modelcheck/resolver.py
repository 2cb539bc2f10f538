"""Resolve facts by name: lazily, once for each checkpoint, safe to share between threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from modelcheck.errors import raised_at
from modelcheck.fact import Need, NotApplicable, NotPassed, Unavailable, needs


class FactCrash(Exception):
    """A fact raised something it should not have: a bug of ours (or of a pack), never the user's fault."""

    def __init__(self, name: str, cause: BaseException) -> None:
        super().__init__(f"fact {name}: {type(cause).__name__}: {cause}{raised_at(cause)}")
        self.__cause__ = cause


class Resolver:
    """The facts of one checkpoint.

    `catalogue` maps names to their definitions; `given` holds values known beforehand (the source, the options, or
    facts that a caller hands in), which win over definitions.
    """

    def __init__(self, catalogue: Mapping[str, Callable[..., Any]], given: Mapping[str, Any]) -> None:
        self._catalogue = catalogue
        self._values: dict[str, Any] = dict(given)
        self._failures: dict[str, Unavailable | FactCrash] = {}
        self._lock = threading.RLock()

    def __getitem__(self, name: str) -> Any:
        """The value of the fact. Raises `Unavailable` where it has none, `FactCrash` where its definition failed."""
        with self._lock:
            if name in self._failures:
                raise self._failures[name].with_traceback(None)
            if name not in self._values:
                self._values[name] = self._compute(name)
            return self._values[name]

    def open(self) -> Mapping[str, Callable[..., Any]]:
        """The definitions of the facts that nobody has handed in or asked for yet."""
        known = self._values.keys() | self._failures.keys()
        return {name: function for name, function in self._catalogue.items() if name not in known}

    def arguments(self, wanted: Iterable[Need]) -> dict[str, Any]:
        """Values for the parameters of a check or fact; None for an optional one that does not apply or is absent."""
        return {need.name: self._argument(need) for need in wanted}

    def _argument(self, need: Need) -> Any:
        try:
            return self[need.name]
        except (NotApplicable, NotPassed):
            if need.optional:
                return None
            raise

    def _compute(self, name: str) -> Any:
        if name not in self._catalogue:
            raise NotPassed(name)
        function = self._catalogue[name]
        try:
            return function(**self.arguments(needs(function)))
        except (Unavailable, FactCrash) as failure:
            self._failures[name] = failure
            raise
        except Exception as bug:
            self._failures[name] = FactCrash(name, bug)
            raise self._failures[name] from bug
