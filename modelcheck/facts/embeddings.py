"""The embedding matrix: found by name, streamed in pieces of 128 rows, never held whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from modelcheck.fact import Missing, fact

from .files import Files
from .tensors import Tensor, Tensors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

INPUT = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight", "tok_embeddings.weight")
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
# 128 rows of a 4096-wide bf16 matrix are 1 MiB: larger pieces fall out of the second-level cache and are twice as slow.
CHUNK_ROWS = 128
SKETCH_COLUMNS, SKETCH_WIDTH = 256, 16
FLOATS = {"BF16": 2, "F16": 2, "F32": 4, "F64": 8}


@dataclass(frozen=True, slots=True)
class Scan:
    """One pass over the rows.

    `norms` [rows]: L2 norm of each. `prints` [rows, 2] uint64: equal for bit-identical rows. `sketch`
    [rows, SKETCH_WIDTH] float32: a random projection of the first columns of each row divided by its norm, so that
    near-parallel rows lie close together.
    """

    norms: NDArray[np.float32]
    prints: NDArray[np.uint64]
    sketch: NDArray[np.float32]


class Embeddings:
    """The input embedding. `rows` and `width` are its shape."""

    def __init__(self, files: Files, tensor: Tensor) -> None:
        self._files, self.tensor = files, tensor
        self.rows, self.width = tensor.shape
        self._row_bytes = self.width * FLOATS[tensor.dtype]

    @cached_property
    def scan(self) -> Scan:
        """The norms, prints and sketch of all rows, in one pass. Memory does not grow with the width."""
        import numpy as np

        norms = np.empty(self.rows, np.float32)
        prints = np.zeros((self.rows, 2), np.uint64)
        sketch = np.empty((self.rows, SKETCH_WIDTH), np.float32)
        projection = self._projection
        columns = len(projection)
        start = 0
        for raw, values in self._chunks():
            stop = start + len(values)
            np.sqrt(np.vecdot(values, values), out=norms[start:stop])
            prints[start:stop] = _prints(raw)
            np.matmul(values[:, :columns], projection, out=sketch[start:stop])
            start = stop
        with np.errstate(divide="ignore", invalid="ignore"):
            sketch /= norms[:, None]
        return Scan(norms, prints, sketch)

    def sketch(self, row: NDArray[np.float32]) -> NDArray[np.float32]:
        """The sketch of a row that need not be in the matrix, [SKETCH_WIDTH]."""
        import numpy as np

        projection = self._projection
        return np.asarray(row[: len(projection)] @ projection / np.linalg.norm(row), np.float32)

    @cached_property
    def _projection(self) -> NDArray[np.float32]:
        import numpy as np

        columns = min(SKETCH_COLUMNS, self.width)
        return np.random.default_rng(0).standard_normal((columns, SKETCH_WIDTH), np.float32)

    def read(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """The rows with these ids, [len(ids), width] float32."""
        import numpy as np

        if not len(ids):
            return np.empty((0, self.width), np.float32)
        return np.concatenate([self._values(np.frombuffer(self.row_bytes(i), np.uint8)) for i in ids])

    def row_bytes(self, number: int) -> bytes:
        """The stored bytes of one row."""
        start = self.tensor.start + number * self._row_bytes
        return self._files.read(self.tensor.file, start, start + self._row_bytes)

    def _chunks(self) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
        import numpy as np

        pieces = self._files.stream(self.tensor.file, self.tensor.start, self.tensor.stop, CHUNK_ROWS * self._row_bytes)
        for piece in pieces:
            raw = np.frombuffer(piece, np.uint8)
            yield raw.reshape(-1, self._row_bytes), self._values(raw)

    def _values(self, raw: NDArray[np.uint8]) -> NDArray[np.float32]:
        import numpy as np

        if self.tensor.dtype == "BF16":
            # bfloat16 is the upper half of a float32.
            values = raw.view(np.uint16).astype(np.uint32)
            values <<= 16
            return values.view(np.float32).reshape(-1, self.width)
        stored = {"F16": np.float16, "F32": np.float32, "F64": np.float64}[self.tensor.dtype]
        return raw.view(stored).astype(np.float32, copy=False).reshape(-1, self.width)


def _prints(raw: NDArray[np.uint8]) -> NDArray[np.uint64]:
    import numpy as np

    # Eight bytes from the start and eight from the middle: rows that differ anywhere nearly always differ there;
    # those that agree are compared whole.
    middle = raw.shape[1] // 2
    result = np.zeros((len(raw), 16), np.uint8)
    for at, part in ((0, raw[:, :8]), (8, raw[:, middle : middle + 8])):
        result[:, at : at + part.shape[1]] = part
    return result.view(np.uint64)


@fact
def embeddings(files: Files, tensors: Tensors, weights: str) -> Embeddings:
    """The input embedding of the language model."""
    tensor = input_embedding(tensors)
    if weights == "none":
        raise Missing("no tensor data was read", remedy="--weights embeddings")
    if tensor.dtype not in FLOATS:
        raise Missing(f"{tensor.name} is stored as {tensor.dtype}, which has no rows of numbers to compare")
    return Embeddings(files, tensor)


def input_embedding(tensors: Tensors) -> Tensor:
    """The tensor of the language model's input embedding. Raises Missing where none is at hand."""
    names = [name for name in (*tensors, *tensors.absent) if _is_input(name)]
    if not names:
        raise Missing(f"no tensor is called {' or '.join(INPUT)}")
    name = min(names, key=lambda n: (n.count("."), n))
    if name not in tensors:
        raise Missing(f"{name} is in {tensors.absent[name]}, which is not in the folder")
    tensor = tensors[name]
    if len(tensor.shape) != 2 or 0 in tensor.shape:
        raise Missing(f"{name} has shape {list(tensor.shape)}, expected rows and columns")
    return tensor


def _is_input(name: str) -> bool:
    ends = any(name == end or name.endswith(f".{end}") for end in INPUT)
    return ends and not any(tower in part for part in name.split(".")[:-2] for tower in OTHER_TOWERS)
