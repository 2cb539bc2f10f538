"""The embedding matrix: found by name, streamed in pieces of a megabyte, never held whole."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

from modelcheck.fact import Missing, Unfetched, fact
from modelcheck.sources import Span

from .files import Files, shorten
from .tensors import Shard, Tensor, Tensors, tensors
from .weight_index import WeightIndex

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

INPUT = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight", "tok_embeddings.weight")
ENDS = tuple(f".{name}" for name in INPUT)
# Other towers of a multimodal or speech model, and draft layers, have embeddings of their own.
OTHER_TOWERS = (
    "vision",
    "visual",
    "audio",
    "speech",
    "talker",
    "depth",
    "encoder",
    "mtp",
    "draft",
    "codec",
    "code2wav",
)
# 128 rows of a 4096-wide bf16 matrix: larger pieces fall out of the second-level cache and are twice as slow.
CHUNK = 1 << 20
# A matrix of so many bytes is worth a second thread.
SHARED = 16 << 20
# The widest published hidden size known to us is 18432 (Nemotron-4 340B): a row of more is no embedding.
WIDEST = 1 << 16
SKETCH_COLUMNS, SKETCH_WIDTH, SKETCH_ROWS = 256, 16, 4096
# The sketch is kept as bytes: components are of the order of 1, steps of 1/32 are far finer than what is read off it.
SKETCH_STEP, SKETCH_BOUND = 1 / 32, 127
FLOATS = {"BF16": 2, "F16": 2, "F32": 4, "F64": 8}


@dataclass(frozen=True, slots=True)
class Scan:
    """One pass over the rows, 28 bytes each.

    `norms` [rows]: L2 norm, to within half a per cent; NaN or infinite where the row is, NaN where it was not read.
    `prints` [rows] uint64: equal for bit-identical rows, and rarely for others. `sketch` [rows, SKETCH_WIDTH] int8: a
    random projection of the direction of each row's first columns, so that near-parallel rows lie close together.
    """

    norms: NDArray[np.float32]
    prints: NDArray[np.uint64]
    sketch: NDArray[np.int8]


class Embeddings:
    """The input embedding. `rows` and `width` are its shape, `chosen` the ids of the rows to be read; None for all."""

    def __init__(self, files: Files, tensor: Tensor, chosen: frozenset[int] | None = None) -> None:
        self._files, self.tensor, self.chosen = files, tensor, chosen
        self.rows, self.width = tensor.shape
        self._row_bytes = self.width * FLOATS[tensor.dtype]
        self._chunk_rows = max(1, CHUNK // self._row_bytes)

    @property
    def read_rows(self) -> int:
        """How many of the rows are read."""
        return self.rows if self.chosen is None else len(self.chosen)

    @cached_property
    def scan(self) -> Scan:
        """The norms, prints and sketch of the rows, in one pass. Memory does not grow with the width."""
        import numpy as np

        self._files.expect(self._spans())
        if self.chosen is not None:
            return self._scan_chosen(self.chosen)

        found = Scan(
            np.empty(self.rows, np.float32),
            np.empty(self.rows, np.uint64),
            np.empty((self.rows, SKETCH_WIDTH), np.int8),
        )
        if self._files.remote or self.tensor.stop - self.tensor.start < SHARED:
            self._scan_part(found, 0, self.rows)
            return found
        middle = self.rows // 2
        # One thread waits for the disk while the other computes; numpy leaves both to work.
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(partial(self._scan_part, found), (0, middle), (middle, self.rows)))
        return found

    def _scan_part(self, found: Scan, start: int, last: int) -> None:
        """Fill in what is found in the rows from `start` to `last`."""
        import numpy as np

        done, projected = start, np.empty((SKETCH_ROWS + self._chunk_rows, SKETCH_WIDTH), np.float32)
        head = len(self._projection) * FLOATS[self.tensor.dtype]
        with np.errstate(all="ignore"):
            for raw in self.chunks(start, last):
                stop = start + len(raw)
                np.sqrt(self._squares(raw), out=found.norms[start:stop])
                found.prints[start:stop] = _prints(raw)
                np.matmul(self.values(raw[:, :head]), self._projection, out=projected[start - done : stop - done])
                start = stop
                if start - done >= SKETCH_ROWS or start == last:
                    found.sketch[done:start] = _direction(projected[: start - done])
                    done = start

    def _scan_chosen(self, chosen: frozenset[int]) -> Scan:
        import numpy as np

        norms = np.full(self.rows, np.nan, np.float32)
        prints = np.zeros(self.rows, np.uint64)
        sketch = np.zeros((self.rows, SKETCH_WIDTH), np.int8)
        for ids, raw in self.pieces(np.array(sorted(chosen), np.intp)):
            with np.errstate(all="ignore"):
                norms[ids] = np.sqrt(self._squares(raw))
                sketch[ids] = self.sketch(self.values(raw))
            prints[ids] = _prints(raw)
        return Scan(norms, prints, sketch)

    def _spans(self) -> Iterator[Span]:
        """The bytes that a scan reads: the whole matrix, or the chosen rows."""
        if self.chosen is None:
            yield self.tensor.file, self.tensor.start, self.tensor.stop
        for row in sorted(self.chosen or ()):
            start = self.tensor.start + row * self._row_bytes
            yield self.tensor.file, start, start + self._row_bytes

    def _squares(self, raw: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The squared norm of each row; for bfloat16 up to one per cent too large, at a third of the cost."""
        import numpy as np

        if self.tensor.dtype == "BF16" and self.width % 2 == 0:
            # Two bfloat16 read as one float32 are the second of them, with the first in the digits beyond its own.
            pairs = raw.view(np.uint32)
            second, first = pairs.view(np.float32), (pairs << 16).view(np.float32)
            return np.asarray(np.vecdot(first, first) + np.vecdot(second, second))
        values = self.values(raw)
        return np.asarray(np.vecdot(values, values))

    def chunks(self, first: int = 0, last: int | None = None) -> Iterator[NDArray[np.uint8]]:
        """The rows from `first` to `last` as they are stored, [rows of a piece, bytes of a row].

        Each piece is valid until the next is asked for.
        """
        import numpy as np

        size, base = self._chunk_rows * self._row_bytes, self.tensor.start
        stop = self.rows if last is None else last
        for piece in self._files.stream(
            self.tensor.file, base + first * self._row_bytes, base + stop * self._row_bytes, size
        ):
            yield np.frombuffer(piece, np.uint8).reshape(-1, self._row_bytes)

    def sketch(self, values: NDArray[np.float32]) -> NDArray[np.int8]:
        """The sketch of rows that need not be in the matrix, [len(values), SKETCH_WIDTH]."""
        return _direction(values[:, : len(self._projection)] @ self._projection)

    @cached_property
    def _projection(self) -> NDArray[np.float32]:
        import numpy as np

        columns = min(SKETCH_COLUMNS, self.width)
        draw = random.Random(0)  # noqa: S311  numpy.random takes 15 ms to import; nothing here is secret
        normal = [draw.gauss(0, 1) for _ in range(columns * SKETCH_WIDTH)]
        return np.array(normal, np.float32).reshape(columns, SKETCH_WIDTH)

    def pieces(self, ids: NDArray[np.intp]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.uint8]]]:
        """(ids, their stored bytes) for ascending ids, a piece at a time: at most one more pass over the matrix."""
        import numpy as np

        apart = np.diff(ids // self._chunk_rows, prepend=-1) != 0
        if self.chosen is not None:  # what lies between is not at hand
            apart |= np.diff(ids, prepend=-2) != 1
        starts = np.flatnonzero(apart)
        for part in np.split(ids, starts[1:]) if len(ids) else ():
            first, stop = int(part[0]), int(part[-1]) + 1
            base = self.tensor.start + first * self._row_bytes
            read = self._files.read(self.tensor.file, base, base + (stop - first) * self._row_bytes)
            yield part, np.frombuffer(read, np.uint8).reshape(-1, self._row_bytes)[part - first]

    def read(self, ids: NDArray[np.intp]) -> NDArray[np.float32]:
        """The rows with these ids, ascending, [len(ids), width] float32. For a few hundred, not for thousands."""
        import numpy as np

        rows = [self.values(raw) for _, raw in self.pieces(ids)]
        return np.concatenate(rows) if rows else np.empty((0, self.width), np.float32)

    def norm(self, number: int) -> float:
        """The L2 norm of one row, also where its square is too small for 32 bits."""
        import numpy as np

        return float(np.linalg.norm(self.read(np.array([number])).astype(np.float64)))

    def values(self, raw: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Stored bytes as float32, [rows, width]."""
        import numpy as np

        if self.tensor.dtype == "BF16":
            # bfloat16 is the upper half of a float32.
            bits = raw.view(np.uint16).astype(np.uint32)
            bits <<= 16
            return bits.view(np.float32)
        stored = {"F16": np.float16, "F32": np.float32, "F64": np.float64}[self.tensor.dtype]
        with np.errstate(all="ignore"):
            return raw.view(stored).astype(np.float32, copy=False)


def _direction(projected: NDArray[np.float32]) -> NDArray[np.int8]:
    """Projections of rows, without their length, in bytes; zero where a row has no direction."""
    import numpy as np

    with np.errstate(all="ignore"):
        length = np.sqrt(np.vecdot(projected, projected) / SKETCH_WIDTH)
        projected = projected / (length[:, None] * SKETCH_STEP)
    projected[~np.isfinite(projected)] = 0
    steps: NDArray[np.int8] = np.clip(np.rint(projected), -SKETCH_BOUND, SKETCH_BOUND).astype(np.int8)
    return steps


def _prints(raw: NDArray[np.uint8]) -> NDArray[np.uint64]:
    import numpy as np

    # Eight bytes from the start and eight from the middle: rows that differ anywhere nearly always differ there;
    # those that agree are compared whole.
    middle = raw.shape[1] // 2
    ends = np.zeros((2, len(raw), 8), np.uint8)
    for end, part in zip(ends, (raw[:, :8], raw[:, middle : middle + 8]), strict=True):
        end[:, : part.shape[1]] = part
    start, centre = ends.view(np.uint64)[:, :, 0]
    # The multiplier is 2^64 over the golden ratio, which spreads neighbouring numbers.
    mixed: NDArray[np.uint64] = (start * np.uint64(0x9E3779B97F4A7C15)) ^ centre
    return mixed


@fact
def embedding_tensor(files: Files, shards: Mapping[str, Shard], weight_index: WeightIndex | None = None) -> Tensor:
    """Where the input embedding lies. Of a model in shards only the header of the one that holds it is read."""
    try:
        return input_embedding(tensors(files, holding_embedding(shards, weight_index), weight_index))
    except Unfetched:
        raise
    except Missing:  # the index may be wrong
        return input_embedding(tensors(files, shards, weight_index))


def holding_embedding(shards: Mapping[str, Shard], index: WeightIndex | None) -> Mapping[str, Shard]:
    """The shards that hold an input embedding by the index; all where it names none that is at hand."""
    holding = {shard for name, shard in (index.shards if index else {}).items() if _is_input(name)}
    return {name: shards[name] for name in sorted(holding) if name in shards} or shards


@fact
def embeddings(
    files: Files, embedding_tensor: Tensor, weights: str, used_rows: frozenset[int] | None = None
) -> Embeddings:
    """The input embedding of the language model, or with `--weights used` some of its rows."""
    tensor = embedding_tensor
    if weights == "none":
        raise Missing("no tensor data was read", remedy="--weights embeddings")
    if tensor.ggml_type:
        raise Missing(f"{tensor.name} is quantised ({shorten(tensor.ggml_type)}), its rows are not what was trained")
    if tensor.dtype not in FLOATS:
        raise Missing(f"{tensor.name} is stored as {tensor.dtype}, which has no rows of numbers to compare")
    some = weights == "used" and used_rows is not None and len(used_rows) < tensor.shape[0]
    return Embeddings(files, tensor, used_rows if some else None)


def input_embedding(tensors: Tensors) -> Tensor:
    """The tensor of the language model's input embedding. Raises Missing where none is at hand."""
    names = [name for name in (*tensors, *tensors.absent) if _is_input(name)]
    if not names:
        raise Missing(f"no tensor is called {' or '.join(INPUT)}")
    name = min(names, key=lambda n: (n.count("."), n))
    if name not in tensors:
        raise Missing(f"{name} is in {tensors.absent[name]}, which is not in the folder")
    tensor = tensors[name]
    if len(tensor.shape) != 2 or 0 in tensor.shape or tensor.shape[1] > WIDEST:
        raise Missing(f"{name} has shape {list(tensor.shape)}, expected rows and columns")
    return tensor


def _is_input(name: str) -> bool:
    return f".{name}".endswith(ENDS) and not any(
        tower in part for part in name.split(".")[:-2] for tower in OTHER_TOWERS
    )
