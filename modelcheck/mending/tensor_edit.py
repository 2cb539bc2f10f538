"""Edits of tensors, made into the new content of a safetensors file: new bytes, and stretches of the old file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from modelcheck.change import Kept, Piece
from modelcheck.edit import AppendRows, DropTensor, RenameTensor, SetRows, SplitTensor, TensorEdit
from modelcheck.fixer import CannotFix

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from modelcheck.facts.tensors import Tensor

# What safetensors aligns the header to.
ALIGNED = 8


@dataclass(frozen=True, slots=True)
class Slot:
    """A tensor as it will be: `pieces` are its bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    pieces: tuple[Piece, ...]

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(map(len, self.pieces))


def rewritten(header: bytes, tensors: Iterable[Tensor], edits: Iterable[TensorEdit]) -> tuple[Piece, ...]:
    """The new content of a shard whose first bytes are `header` (its length included).

    Raises CannotFix for rows of a type that holds no plain numbers, and for parts that are not the whole.
    """
    slots = [Slot(t.name, t.dtype, t.shape, (Kept(t.start, t.stop),)) for t in sorted(tensors, key=lambda t: t.start)]
    described = [(s.name, s.shape) for s in slots]
    for edit in edits:
        at = next(i for i, slot in enumerate(slots) if slot.name == edit.tensor)
        slots[at : at + 1] = _edited(slots[at], edit)
    if [(s.name, s.shape) for s in slots] == described:
        head: Piece = Kept(0, len(header))
    else:
        head = _header(header, slots)
    return tuple(_joined([head, *(piece for slot in slots for piece in slot.pieces)]))


def stored(values: NDArray[np.float32], dtype: str) -> bytes:
    """float32 numbers as they are stored, rounded to the nearest. Raises CannotFix for types that are no floats."""
    import numpy as np

    if dtype == "BF16":
        bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
        # To the nearest, ties to even: half of the last kept digit is added, less one where that digit is even.
        half = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
        return ((bits + half) >> np.uint32(16)).astype("<u2").tobytes()
    if dtype not in (kinds := {"F16": "<f2", "F32": "<f4", "F64": "<f8"}):
        raise CannotFix(f"rows that are stored as {dtype} cannot be written; mend the model before it is quantised")
    return np.asarray(values).astype(kinds[dtype]).tobytes()


def _edited(slot: Slot, edit: TensorEdit) -> list[Slot]:
    match edit:
        case DropTensor():
            return []
        case RenameTensor(to=to):
            return [replace(slot, name=to)]
        case SetRows(rows=rows):
            return [replace(slot, pieces=tuple(_patched(slot, rows)))]
        case AppendRows(rows=rows):
            shape = (slot.shape[0] + len(rows), *slot.shape[1:])
            return [replace(slot, shape=shape, pieces=(*slot.pieces, stored(rows, slot.dtype)))]
        case SplitTensor(parts=parts):
            return list(_parts(slot, parts))


def _patched(slot: Slot, rows: Mapping[int, NDArray[np.float32]]) -> Iterator[Piece]:
    [kept] = (piece for piece in slot.pieces if isinstance(piece, Kept))
    width = len(kept) // slot.shape[0]
    at = kept.start
    for row in sorted(rows):
        yield Kept(at, kept.start + row * width)
        yield stored(rows[row], slot.dtype)
        at = kept.start + (row + 1) * width
    yield Kept(at, kept.stop)
    yield from (piece for piece in slot.pieces if piece is not kept)


def _parts(slot: Slot, parts: tuple[tuple[str, int], ...]) -> Iterator[Slot]:
    [kept] = slot.pieces
    if not isinstance(kept, Kept) or sum(rows for _, rows in parts) != slot.shape[0]:
        raise CannotFix(f"{slot.name} has {slot.shape[0]} rows, its parts have {sum(rows for _, rows in parts)}")
    width, at = len(kept) // slot.shape[0], kept.start
    for name, rows in parts:
        yield Slot(name, slot.dtype, (rows, *slot.shape[1:]), (Kept(at, at + rows * width),))
        at += rows * width


def _header(old: bytes, slots: Iterable[Slot]) -> bytes:
    """The new header; of the old length where it fits, so that the tensors can stay where they are."""
    document: dict[str, Any] = {}
    if (metadata := json.loads(old[8:]).get("__metadata__")) is not None:
        document["__metadata__"] = metadata
    end = 0
    for slot in slots:
        document[slot.name] = {"dtype": slot.dtype, "shape": slot.shape, "data_offsets": [end, end + slot.size]}
        end += slot.size
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    length = len(old) - 8 if len(text) <= len(old) - 8 else -(-len(text) // ALIGNED) * ALIGNED
    return length.to_bytes(8, "little") + text.ljust(length)


def _joined(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Neighbouring pieces of one kind as one, and none that is empty."""
    last: Piece | None = None
    for piece in pieces:
        if not len(piece):
            continue
        if isinstance(last, Kept) and isinstance(piece, Kept) and last.stop == piece.start:
            last = Kept(last.start, piece.stop)
        elif isinstance(last, bytes) and isinstance(piece, bytes):
            last += piece
        else:
            if last is not None:
                yield last
            last = piece
    if last is not None:
        yield last
