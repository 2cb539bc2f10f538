"""The rows of a job: where they come from, and what is done with them. What a job file says of data, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Rows:
    """Where rows come from: a file or folder (`path`), or a data set of the hub (`hf` with `split` and `revision`).

    `id`, `cluster`, `slice` and `critical` name columns; `columns` maps the parts of an example to column names or to
    templates such as `{title}: {question}`, and `form` names the form of the rows where it shall not be recognised.
    """

    path: Path | None = None
    hf: str | None = None
    split: str = "train"
    revision: str | None = None
    form: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    id: str | None = None
    cluster: str | None = None
    slice: str | None = None
    critical: str | None = None

    @property
    def name(self) -> str:
        """What messages call it."""
        return str(self.path) if self.path else f"{self.hf} ({self.split})"


@dataclass(frozen=True, slots=True)
class Mirror:
    """A verbatim part of the training rows that is evaluated too: `sample` rows, drawn by `seed`."""

    sample: int = 100
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Replay:
    """Rows against forgetting, mixed into training: `ratio` of them for each training row, drawn by `seed`."""

    rows: Rows
    ratio: float = 0.3
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Leakage:
    """What evaluation rows that are in training do, each `error`, `warn` or `off`; `ngram` is a length in words."""

    exact: str = "error"
    ngram: int = 13
    ngram_action: str = "warn"


@dataclass(frozen=True, slots=True)
class Data:
    """The rows of a job. `template` is `tokenizer` or a file; `max_length` counts tokens of a rendered row."""

    train: Rows
    eval: Rows | None = None
    mirror: Mirror | None = None
    replay: Replay | None = None
    leakage: Leakage = Leakage()
    template: Path | str = "tokenizer"
    max_length: int = 2048
    on_truncate: str = "error"
