"""The rows that a training set-up brings, as conversations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modelcheck.dataset.columns import BadValue
from modelcheck.dataset.example import BadRow, Example
from modelcheck.dataset.forms import recognise
from modelcheck.dataset.read import Layout, RawRows, examples
from modelcheck.dataset.splits import EVAL, TRAIN
from modelcheck.errors import UsageError
from modelcheck.fact import Malformed, NotApplicable, fact
from modelcheck.names import EVAL_ROWS, TRAIN_ROWS

from .files import Files

# What is held in memory of a split: so many rows, and no more than this many characters of them.
MOST_ROWS, MOST_TEXT = 20_000, 32 << 20
# Columns that only rows which are encoded already have.
ENCODED = frozenset({"input_ids", "pixel_values", "input_features"})


@dataclass(frozen=True, slots=True)
class Split:
    """One split's first rows. `name` is `train` or `eval`, `file` what messages call it; `whole` says these are all.

    `bad` are rows that are no conversation. `live` says that the rows are objects, not a file with lines.
    """

    name: str
    file: str
    examples: tuple[Example, ...]
    bad: tuple[BadRow, ...] = ()
    whole: bool = True
    live: bool = False

    @property
    def rows(self) -> int:
        """How many rows were looked at."""
        return len(self.examples) + len(self.bad)

    def of(self, count: int) -> str:
        """`3 of 200 rows`, and that these are not all."""
        return f"{count} of {'' if self.whole else 'the first '}{self.rows} {self.kind} rows"

    @property
    def kind(self) -> str:
        """What messages call its rows."""
        return "training" if self.name == TRAIN else "evaluation"

    def at(self, row: int) -> str | None:
        """Where a row begins in its file, if it has a line of its own there."""
        return _line(self.file, row)

    def named(self, rows: Sequence[Example]) -> str:
        """`rows 3, 7, 9 and 12 more`; those of other files than its own, such as replayed ones, with that file."""
        files: dict[str, list[int]] = {}
        for row in sorted(rows, key=self._order):
            files.setdefault(row.source, []).append(row.row)
        told = [f"{rows_named(found)}{'' if name == self.file else f' of {name}'}" for name, found in files.items()]
        return ", ".join(told)

    def place(self, rows: Iterable[Example]) -> tuple[str, str | None]:
        """File and place of the first of these rows."""
        first = min(rows, key=self._order)
        return first.source, _line(first.source, first.row)

    def _order(self, row: Example) -> tuple[bool, str, int]:
        return row.source != self.file, row.source, row.row


@dataclass(frozen=True, slots=True)
class Dataset:
    """Training and evaluation rows.

    `template_args` are set when rows are rendered, as `enable_thinking = false`; `ngram` words in a row that both
    splits share are an overlap. `replayed` of the training rows are there against forgetting, not to be learned from.
    """

    train: Split | None = None
    eval: Split | None = None
    template_args: Mapping[str, Any] = field(default_factory=dict)
    ngram: int = 13
    replayed: int = 0

    @property
    def splits(self) -> tuple[Split, ...]:
        """Those that are there."""
        return tuple(split for split in (self.train, self.eval) if split is not None)


def _line(file: str, row: int) -> str | None:
    return f"{row}:1" if file.endswith((".jsonl", ".ndjson")) else None


def rows_named(rows: Sequence[int], most: int = 3) -> str:
    """`row 3`, or `rows 3, 7, 9 and 12 more`, in their order."""
    rows = sorted(rows)
    shown = ", ".join(map(str, rows[:most]))
    return f"row{'s' * (len(rows) > 1)} {shown}" + (f" and {len(rows) - most} more" if len(rows) > most else "")


@fact
def data(files: Files) -> Mapping[str, RawRows]:
    """{split: raw rows} that the set-up brings: `--data`, or a trainer's data sets. Handed in where there are any."""
    for name in (TRAIN_ROWS, EVAL_ROWS):
        files.refuse_unpassed(name)
    raise NotApplicable("no data set belongs to the set-up")


@fact
def dataset(data: Mapping[str, RawRows]) -> Dataset:
    """The first rows of each split as conversations, in a bounded part of memory."""
    splits = {split: _split(split, rows) for split, rows in data.items()}
    return Dataset(splits.get(TRAIN), splits.get(EVAL))


def _split(name: str, rows: RawRows) -> Split:
    try:
        _refuse_other_rows(rows)
        found, bad, whole = _first(rows)
    except UsageError as error:
        raise Malformed(rows.name, str(error).removeprefix(f"{rows.name}: ")) from error
    return Split(name, rows.name, tuple(found), tuple(bad), whole, rows.live)


def _refuse_other_rows(rows: RawRows) -> None:
    """Raise where the first row says that no row is a conversation."""
    number, first = next(((n, row) for n, row in rows if not isinstance(row, BadRow)), (0, {}))
    if not number:
        return
    if ENCODED & first.keys():
        raise NotApplicable(f"the rows of {rows.name} are encoded already")
    try:
        recognise(first)
    except BadValue as problem:
        if rows.live:  # a trainer for something else, or one that formats rows itself
            raise NotApplicable(f"{rows.name}: the first row {problem}") from None
        raise UsageError(f"{rows.name}: row {number} {problem}") from None


def _first(rows: RawRows) -> tuple[list[Example], list[BadRow], bool]:
    found: list[Example] = []
    bad: list[BadRow] = []
    room = MOST_TEXT
    most = rows.most or MOST_ROWS
    for row in examples(rows, Layout()):
        if len(found) + len(bad) == most or room < 0:
            return found, bad, False
        if isinstance(row, BadRow):
            bad.append(row)
        else:
            found.append(row)
            room -= sum(_sizes(row))
    return found, bad, True


def _sizes(example: Example) -> Iterator[int]:
    yield len(example.text or "")
    for message in example.messages:
        yield len(str(message.get("content") or ""))
