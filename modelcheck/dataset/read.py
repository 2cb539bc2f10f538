"""Rows out of files, row by row and without writing anything.

JSONL, JSON and CSV are read by the standard library, Parquet by pyarrow, what `datasets` saved or the hub holds by it.
"""

from __future__ import annotations

import codecs
import csv
import importlib
import itertools
import json
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from modelcheck.dataset.columns import BadValue, Repeated, Row, as_text, column
from modelcheck.dataset.example import BadRow, Example
from modelcheck.dataset.forms import parts, recognise, reference_of
from modelcheck.errors import UsageError

INSTALL = "pip install 'modelcheck[finetune]'"
# A longer line is no row of text; a longer JSON list is better kept as JSONL, which is read row by row.
LINE_LIMIT, JSON_LIMIT = 64 << 20, 512 << 20
ENDINGS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
# Rows of a Parquet file that are in memory at a time.
BATCH = 256
# By which `save_to_disk` is known: of one split, of several.
SAVED, SAVED_SPLITS = "state.json", "dataset_dict.json"
# Rows of a live data set that lint looks at: each may be read from a network or made by a function.
LIVE_ROWS = 1000
# What a flag may be: of a nullable column pandas makes 1.0, 0.0 and nothing.
FLAGS = dict.fromkeys(("true", "t", "yes", "y", "1", "1.0"), True)
FLAGS |= dict.fromkeys(("false", "f", "no", "n", "0", "0.0", ""), False)

RawRow = tuple[int, Row | BadRow]


@dataclass(frozen=True, slots=True)
class RawRows:
    """Rows as they lie in a file, each with its number from 1; iterated over as often as one likes.

    `live` says that they are a trainer's objects, which may be costly to make: no more than `most` are looked at.
    """

    name: str
    read: Callable[[], Iterator[RawRow]]
    live: bool = False

    @property
    def most(self) -> int | None:
        """How many rows lint may look at, where the rows are costly."""
        return LIVE_ROWS if self.live else None

    def __iter__(self) -> Iterator[RawRow]:
        return self.read()


@dataclass(frozen=True, slots=True)
class Layout:
    """Which columns hold what. Without `form` and `columns` the form is recognised on the first row.

    `cluster_key` is the setting that names the column `cluster`, for messages.
    """

    form: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    id: str | None = None
    cluster: str | None = None
    slice: str | None = None
    critical: str | None = None
    cluster_key: str = "cluster"


def examples(rows: RawRows, layout: Layout) -> Iterator[Example | BadRow]:
    """The rows as conversations, one after the other."""
    form = layout.form
    for number, row in rows:
        if isinstance(row, BadRow):
            yield row
            continue
        try:
            form = form or (None if layout.columns else recognise(row))
            yield _example(row, number, rows.name, form, layout)
        except BadValue as problem:
            yield BadRow(number, rows.name, str(problem))


def _example(row: Row, number: int, source: str, form: str | None, layout: Layout) -> Example:
    found = parts(row, form, layout.columns)
    named = {"id": layout.id, layout.cluster_key: layout.cluster, "slice": layout.slice, "critical": layout.critical}
    texts = {key: as_text(_asked(key, name, row), name) or None for key, name in named.items() if name is not None}
    more: dict[str, Any] = {"given_id": texts.get("id"), "cluster": texts.get(layout.cluster_key)}
    more["slice"] = texts.get("slice")
    critical = _flag(texts.get("critical") or "", layout.critical)
    reference = found.reference if found.reference is not None else reference_of(found.messages)
    more |= {"critical": critical, "text": found.text, "criteria": found.criteria, "fields": row}
    return Example(found.messages, number, source, reference, found.tools, **more)


def _asked(key: str, name: str, row: Row) -> Any:
    """The column that a setting names. Raises BadValue naming both."""
    try:
        return column(name, row)
    except BadValue as problem:
        raise BadValue(f"{problem} ({key} names it)") from None


def _flag(text: str, name: str | None) -> bool:
    """Whether a cell says yes; an empty one says no. Raises BadValue for one that says neither."""
    try:
        return FLAGS[text.strip().lower()]
    except KeyError:
        raise BadValue(
            f"column {name!r} (critical names it) is {text!r}, expected true, yes or 1, or false, no, 0 or nothing: "
            "an item that is critical by mistake or not at all would turn the verdict"
        ) from None


def open_file(path: Path, *, split: str = "train", name: str | None = None) -> RawRows:
    """The rows of a file, or of a folder that `datasets` saved. Raises UsageError for what cannot be read at all."""
    shown = name or str(path)
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
        if not is_folder and not path.is_file():
            raise UsageError(f"{shown}: is no regular file")
    except OSError as error:
        raise UsageError(f"{shown}: {error.strerror or error}") from None
    ending = path.suffix.lower()
    if is_folder:
        return _saved(path, split, shown)
    if ending not in ENDINGS:
        raise UsageError(f"{shown}: rows are read from {', '.join(ENDINGS)} or a folder that `datasets` saved")
    if ending == ".parquet":
        return _parquet(path, shown)
    try:
        with path.open("rb") as file:
            begin = file.read(2)
    except OSError as error:
        raise UsageError(f"{shown}: {error.strerror or error}") from None
    if begin in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        raise UsageError(f"{shown}: is UTF-16, expected UTF-8: save it again as UTF-8")
    reader = {".csv": _csv, ".tsv": _csv, ".json": _json}.get(ending, _jsonl)
    return RawRows(shown, lambda: reader(path, shown))


def open_hub(dataset: str, split: str, revision: str | None) -> RawRows:
    """The rows of a data set of the hub, through the hub's own cache. Raises UsageError where it cannot be had."""
    name = f"{dataset} ({split})"
    library = _needs("datasets", name)
    try:
        return of_object(library.load_dataset(dataset, split=split, revision=revision), name)
    except Exception as error:
        raise UsageError(f"{name}: {_reason(error)}") from None


def of_object(rows: Iterable[Any], name: str, *, live: bool = False) -> RawRows:
    """The rows of an object that is iterated over, such as a data set of `datasets`; of a mapping, of all its sets."""

    def read() -> Iterator[RawRow]:
        sets = rows.values() if isinstance(rows, Mapping) else [rows]
        for number, row in enumerate(itertools.chain.from_iterable(sets), 1):
            fits = isinstance(row, Mapping)
            yield number, row if fits else BadRow(number, name, f"is a {type(row).__name__}, expected a mapping")

    return RawRows(name, read, live)


def _jsonl(path: Path, name: str) -> Iterator[RawRow]:
    with path.open("rb") as file:
        number = 0
        while line := file.readline(LINE_LIMIT):
            number += 1
            if len(line) == LINE_LIMIT:
                yield number, BadRow(number, name, f"is longer than {LINE_LIMIT >> 20} MB: the rest is not read")
                return
            if line.strip():
                yield number, _parsed(line, number, name)


def _parsed(line: bytes, number: int, name: str) -> Row | BadRow:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return BadRow(number, name, f"is not UTF-8: byte {error.start} is {error.object[error.start]:#04x}")
    except RecursionError:
        return BadRow(number, name, "is JSON nested too deeply to be read")
    except ValueError as error:
        return BadRow(number, name, f"is not JSON: {error}")
    return row if isinstance(row, Mapping) else BadRow(number, name, "is not a JSON object, expected one a line")


def _json(path: Path, name: str) -> Iterator[RawRow]:
    """A list of rows, one object alone, or JSON lines."""
    with path.open("rb") as file:
        listed = file.read(64).decode("utf-8-sig", "replace").lstrip().startswith("[")
    small = path.stat().st_size <= JSON_LIMIT
    if listed and not small:
        raise UsageError(f"{name}: is larger than {JSON_LIMIT >> 20} MB; keep it as JSONL, a row a line")
    try:
        whole = json.loads(path.read_text(encoding="utf-8-sig")) if small else None
    except (ValueError, RecursionError) as error:
        if listed:
            raise UsageError(f"{name}: is not JSON: {error}") from None
        whole = None
    if whole is None:
        yield from _jsonl(path, name)
    else:
        yield from of_object(whole if listed else [whole], name)


def _csv(path: Path, name: str) -> Iterator[RawRow]:
    csv.field_size_limit(LINE_LIMIT)
    with path.open(encoding="utf-8-sig", newline="") as file:
        yield from _records(file, "\t" if path.suffix.lower() == ".tsv" else ",", name)


def _records(file: IO[str], delimiter: str, name: str) -> Iterator[RawRow]:
    reader = csv.DictReader(file, delimiter=delimiter, strict=True)
    number = 0
    try:
        names = Counter(reader.fieldnames)
        repeated = {column: Repeated(times) for column, times in names.items() if times > 1}
        for row in reader:
            number += 1
            fits = None not in row and None not in row.values()
            problem = f"has not the {len(reader.fieldnames or ())} fields of the first line"
            yield number, row | repeated if fits else BadRow(number, name, problem)
    except (csv.Error, UnicodeDecodeError) as error:
        yield number + 1, BadRow(number + 1, name, f"cannot be read as CSV: {error}")


def _parquet(path: Path, name: str) -> RawRows:
    library = _needs("pyarrow.parquet", name)
    try:
        library.ParquetFile(path).close()
    except (OSError, ValueError) as error:  # pyarrow's own are among them
        raise UsageError(f"{name}: {_reason(error)}") from None

    def read() -> Iterator[RawRow]:
        with library.ParquetFile(path) as file:
            rows = (row for batch in file.iter_batches(batch_size=BATCH) for row in batch.to_pylist())
            yield from enumerate(rows, 1)

    return RawRows(name, read)


def _saved(path: Path, split: str, name: str) -> RawRows:
    if not any((path / marker).is_file() for marker in (SAVED, SAVED_SPLITS)):
        raise UsageError(f"{name}: is no folder that `datasets` saved (no {SAVED}, no {SAVED_SPLITS}); name a file")
    library = _needs("datasets", name)
    try:
        loaded = library.load_from_disk(str(path))
    except Exception as error:
        raise UsageError(f"{name}: {_reason(error)}") from None
    if isinstance(loaded, library.DatasetDict):
        if split not in loaded:
            raise UsageError(f"{name}: has no split {split!r}; it has {', '.join(map(repr, loaded))}")
        loaded = loaded[split]
    return of_object(loaded, name)


def _needs(module: str, name: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise UsageError(f"{name}: reading it needs the {module.partition('.')[0]} package: {INSTALL}") from None


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
