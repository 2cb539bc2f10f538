"""The options of a scorer, taken one by one, so that what is left over is what nobody knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast

from modelcheck.dataset.example import Example
from modelcheck.errors import UsageError, did_you_mean

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Scored:
    """What an answer is worth, in [0, 1], and whatever the scorer has to say about it, as JSON (a judge's reason)."""

    value: float
    metadata: Mapping[str, Any] = field(default_factory=dict)


# (answer, item) -> what the answer is worth
Scorer = Callable[[str, Example], "float | Scored"]


@dataclass(frozen=True, slots=True)
class InLots:
    """A scorer that is better given many answers at once, about `lot` of them: it waits for somebody else.

    `decides` is what of its settings decides a score, for the manifest of an evaluation.
    """

    scores: Callable[[Sequence[tuple[str, Example]]], list[Scored]]
    lot: int
    decides: Mapping[str, Any]


NEEDED: Any = object()


class Options:
    """One scorer's table of a job, with the place it stands at for messages.

    `cache` is a folder for what a scorer has been told by others; None keeps nothing.
    """

    def __init__(self, table: Mapping[str, Any], place: str, cache: Path | None = None) -> None:
        self.table, self.place, self.cache = table, place, cache
        self.known: list[str] = []
        self.contents: dict[str, str] = {}
        # Whether a score may hang on columns of the row that neither ask nor answer.
        self.reads_rows = False

    def take(self, name: str, kind: type[T], wanted: str, default: T = NEEDED) -> T:
        """The option's value. Raises UsageError where it is of another type, or lacking without a default."""
        self.known.append(name)
        value = self.table.get(name, default)
        if value is NEEDED:
            raise UsageError(f"{self.place}: lacks {name}, expected {wanted}")
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            return cast("T", float(value))
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            self.refuse(name, wanted)
        return value

    def rests_on(self, name: str, content: bytes) -> None:
        """Say what lies behind an option: with other content in the file that it names, scores are others."""
        self.contents[name] = sha256(content).hexdigest()

    def refuse(self, name: str, wanted: str) -> NoReturn:
        """Raise UsageError: the value of an option is not what is wanted."""
        raise UsageError(f"{self.place}: {name} is {self.table.get(name)!r}, expected {wanted}")

    def finish(self) -> None:
        """Raise UsageError where the table has options that nobody took."""
        for name in self.table:
            if name not in self.known:
                known = f"{did_you_mean(name, self.known)}; known are {', '.join(self.known)}"
                raise UsageError(f"{self.place}: unknown option {name!r}{known}")
