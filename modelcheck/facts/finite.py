"""Where tensors hold NaN or infinity, read as little or as much as was asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelcheck.fact import Missing, fact

from .embeddings import CHUNK, FLOATS, Embeddings
from .files import Files
from .tensors import Tensor, Tensors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Bytes at each end of a tensor: a broken save, merge or optimizer step seldom spares them.
EDGE = 1 << 12
# Buffers that are made of infinities.
MASKS = ("mask", "attn_bias", "alibi")
# All exponent bits set is NaN or infinity, in the integer of the same width.
EXPONENT = {"BF16": ("<u2", 0x7F80), "F16": ("<u2", 0x7C00), "F32": ("<u4", 0x7F800000), "F64": ("<u8", 0x7FF << 52)}


ValueSpans = tuple[tuple[Tensor, tuple[tuple[int, int], ...]], ...]


@dataclass(frozen=True, slots=True)
class NonFinite:
    """`bad` of the `read` values of a tensor are NaN or infinite; `first` is the place of one among all."""

    tensor: Tensor
    first: int
    bad: int
    read: int


@fact
def value_spans(tensors: Tensors, embeddings: Embeddings, weights: str) -> ValueSpans:
    """Of each tensor of floats the bytes [start, stop) of its file that are read: all, or of large ones the ends.

    The engine asks for it beforehand where these bytes are far away: their sum is what is to come. None where only
    rows in use are read: no header is needed for that.
    """
    if weights == "used":
        return ()
    # What is packed has no such values.
    looked_at = [t for t in tensors.values() if t.dtype in EXPONENT and not any(word in t.name for word in MASKS)]
    own = embeddings.tensor.name
    return tuple((tensor, tuple(_spans(tensor, weights == "full" or tensor.name == own))) for tensor in looked_at)


@fact
def non_finite(files: Files, embeddings: Embeddings, value_spans: ValueSpans, weights: str) -> tuple[NonFinite, ...]:
    """Tensors that hold NaN or infinity, as far as `value_spans` goes."""
    strange = _strange_rows(embeddings)
    if weights == "used":
        return _in_rows(files, embeddings, strange)
    seen = () if len(strange) else (embeddings.tensor.name,)
    spans = [(tensor, parts) for tensor, parts in value_spans if tensor.name not in seen]
    files.expect((tensor.file, *span) for tensor, parts in spans for span in parts)
    found = (_look(files, tensor, parts) for tensor, parts in spans)
    return tuple(one for one in found if one.bad)


def _strange_rows(embeddings: Embeddings) -> NDArray[np.intp]:
    """The rows in which the pass that other facts need anyway has met something that is not finite."""
    import numpy as np

    strange = np.flatnonzero(~np.isfinite(embeddings.scan.norms))
    return strange if embeddings.chosen is None else strange[np.isin(strange, sorted(embeddings.chosen))]


def _in_rows(files: Files, embeddings: Embeddings, strange: NDArray[np.intp]) -> tuple[NonFinite, ...]:
    """What the rows that were read tell: that there are such values, never that there are none."""
    tensor = embeddings.tensor
    size = (tensor.stop - tensor.start) // embeddings.rows
    spans = [(tensor.start + int(i) * size, tensor.start + (int(i) + 1) * size) for i in strange]
    if spans and (one := _look(files, tensor, spans)).bad:
        return (one,)
    raise Missing(
        f"none in the {embeddings.read_rows} of {embeddings.rows} rows of {tensor.name} that were read, the other "
        "weights were not read",
        remedy="--weights embeddings",
    )


def _spans(tensor: Tensor, whole: bool) -> Iterator[tuple[int, int]]:
    if whole or tensor.stop - tensor.start <= 4 * EDGE or len(tensor.shape) < 2:
        yield tensor.start, tensor.stop
    else:
        yield tensor.start, tensor.start + EDGE
        yield tensor.stop - EDGE, tensor.stop


def _look(files: Files, tensor: Tensor, spans: Sequence[tuple[int, int]]) -> NonFinite:
    import numpy as np

    first, bad, width = -1, 0, FLOATS[tensor.dtype]
    for start, stop in spans:
        place = (start - tensor.start) // width
        for piece in files.stream(tensor.file, start, stop, CHUNK):
            strange = _strange(piece, tensor.dtype)
            count = int(np.count_nonzero(strange))
            if count and not bad:
                first = place + int(strange.argmax())
            bad += count
            place += len(strange)
    return NonFinite(tensor, first, bad, sum(stop - start for start, stop in spans) // width)


def _strange(piece: memoryview, dtype: str) -> NDArray[np.bool_]:
    import numpy as np

    integer, exponent = EXPONENT[dtype]
    bits = np.frombuffer(piece, integer)
    mask = bits.dtype.type(exponent)
    strange: NDArray[np.bool_] = (bits & mask) == mask
    return strange


def by_file(found: tuple[NonFinite, ...]) -> Mapping[str, list[NonFinite]]:
    """{file: what was found in it}, in the order of the files' names."""
    files: dict[str, list[NonFinite]] = {}
    for one in sorted(found, key=lambda one: one.tensor.file):
        files.setdefault(one.tensor.file, []).append(one)
    return files
