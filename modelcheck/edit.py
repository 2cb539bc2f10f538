"""Edits: what a fixer wants changed, as data. `modelcheck.mending` puts them together, nothing here opens a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class SetJson:
    """The value at a JSON pointer; members that are not there are added, and so is a file that is not there."""

    file: str
    at: str
    value: Any


@dataclass(frozen=True, slots=True)
class DropJson:
    """One member of a JSON object or array removed."""

    file: str
    at: str


@dataclass(frozen=True, slots=True)
class AddToList:
    """A value appended to the list at a JSON pointer; a single value there becomes the first of the list."""

    file: str
    at: str
    value: Any


@dataclass(frozen=True, slots=True)
class WriteFile:
    """The whole content of a file, be it there or not."""

    file: str
    content: bytes


@dataclass(frozen=True, slots=True)
class DropFile:
    """A file removed."""

    file: str


@dataclass(frozen=True, slots=True, eq=False)
class SetRows:
    """New values for rows of a tensor: {row: [width] float32}, cast to the type that is stored."""

    tensor: str
    rows: Mapping[int, NDArray[np.float32]]


@dataclass(frozen=True, slots=True, eq=False)
class AppendRows:
    """Rows [n, width] float32 put after the last one of a tensor."""

    tensor: str
    rows: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class DropTensor:
    """A tensor removed from its file."""

    tensor: str


@dataclass(frozen=True, slots=True)
class RenameTensor:
    """A tensor under another name."""

    tensor: str
    to: str


@dataclass(frozen=True, slots=True)
class SplitTensor:
    """A tensor cut along its first dimension: (name, rows) of each part, in their order; no byte moves."""

    tensor: str
    parts: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Note:
    """No change: something that is said beside the diff."""

    text: str


JsonEdit = SetJson | DropJson | AddToList
FileEdit = WriteFile | DropFile
TensorEdit = SetRows | AppendRows | DropTensor | RenameTensor | SplitTensor
Edit = JsonEdit | FileEdit | TensorEdit | Note
