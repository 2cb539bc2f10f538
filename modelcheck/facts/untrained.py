"""Which embedding rows were never trained: three independent tests, because each misses what the others find."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

from modelcheck.fact import fact

from .embeddings import SKETCH_STEP, SKETCH_WIDTH, Embeddings
from .tokenizer import Tokenizer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Magikarp's reports: dead rows lie at 1e-5 of the median norm and below (Llama-3: 1e-21), the smallest living ones at
# 1.3e-3 (Llama-3), 2e-3 (Llama-3.1) and 9e-3 (Qwen3), whatever the scale (gpt-oss: median 128).
NEAR_ZERO = 0.001
# SmolLM2: its dead rows lie within 20 % of their common centroid.
NEAR_CENTROID = 0.20
# The rows of one cell of the sketch: by chance two of 128,000 share one, and never four that agree this well.
PARALLEL, CLUSTER = 0.99, 4
# Bounds for matrices made to cost time. The largest clusters come first; a centroid needs no more rows than this.
MOST_CLUSTERS, MOST_SEEDS = 64, 64
# Rows looked at in one go where the work needs memory for each.
BLOCK = 1 << 16
# Of so many binary digits 128,000 numbers share few by chance, and counts for all their values take 4 MB.
UPPER = 19
# In fewer columns than this, rows are parallel by chance.
NARROW = 16
RESERVED = re.compile(r"reserved|unused|placeholder|extra_id|dummy|\bpad_?\d+", re.IGNORECASE)
# Bytes that no UTF-8 text contains: their tokens cannot have been trained.
IMPOSSIBLE_BYTES = (0xC0, 0xC1, *range(0xF5, 0x100))


@dataclass(frozen=True, slots=True)
class Untrained:
    """Ids of rows that were never trained, by the test that found them. A row is in the first that finds it.

    `near_zero`: norm at most a thousandth of the median. `identical`: groups of bit-identical rows. `near_centroid`:
    close to the common centroid of rows known to be unused. `median` is the median norm. `size` is 1 + the tokenizer's
    largest id, so ids from there on are padding; None without a tokenizer. Rows that were not read are in none of them.
    """

    near_zero: frozenset[int]
    identical: tuple[frozenset[int], ...]
    near_centroid: frozenset[int]
    rows: int
    size: int | None
    median: float

    @property
    def certain(self) -> frozenset[int]:
        """The rows of the first two tests."""
        return self.near_zero.union(*self.identical)

    def twins(self, number: int) -> frozenset[int]:
        """The other rows that are bit-identical to this one."""
        return next((group for group in self.identical if number in group), frozenset()) - {number}

    def padding(self, ids: Iterable[int]) -> frozenset[int]:
        """Those of the ids that are beyond the tokenizer."""
        return frozenset(i for i in ids if self.size is not None and i >= self.size)


@fact
def untrained(embeddings: Embeddings, tokenizer: Tokenizer | None = None) -> Untrained:
    """The never-trained rows of the input embedding. A row that is not finite is none of them."""
    import numpy as np

    norms = embeddings.scan.norms
    living = np.isfinite(norms)
    median = float(_median(norms[living])) if living.any() else 0.0
    near_zero = np.flatnonzero(living & (norms <= NEAR_ZERO * median))
    living[near_zero] = False
    identical = _identical(embeddings, living)
    twins = np.sort(np.fromiter((i for group in identical for i in group), np.intp))
    # Rows that are in a group stay among the seeds of a centroid, and out of what is found around it.
    unused = [twins, *(known[living[known]] for known in _known_unused(embeddings.rows, tokenizer))]
    living[twins] = False
    near = _near(embeddings, living, unused)
    size = tokenizer.size if tokenizer else None
    return Untrained(frozenset(near_zero.tolist()), identical, near, embeddings.rows, size, median)


def _median(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The median along the first axis; numpy's own imports its masked arrays, which takes longer than this."""
    import numpy as np

    low, high = (len(values) - 1) // 2, len(values) // 2
    ordered = np.partition(values, (low, high), axis=0)
    return np.asarray((ordered[low] + ordered[high]) / 2)


def _identical(embeddings: Embeddings, living: NDArray[np.bool_]) -> tuple[frozenset[int], ...]:
    """Groups of bit-identical rows: equal prints, then equal digests of the whole row."""
    import numpy as np

    suspects = np.concatenate([np.empty(0, np.intp), *_equal(embeddings.scan.prints, living)])
    suspects.sort()
    digests = np.empty(len(suspects), np.uint64)
    start = 0
    for ids, raw in embeddings.pieces(suspects):
        found = b"".join(blake2b(row.tobytes(), digest_size=8).digest() for row in raw)
        digests[start : start + len(ids)] = np.frombuffer(found, np.uint64)
        start += len(ids)
    groups = (suspects[group] for group in _equal(digests, np.ones(len(digests), bool)))
    return tuple(sorted((frozenset(group.tolist()) for group in groups), key=min))


def _equal(keys: NDArray[np.uint64], among: NDArray[np.bool_]) -> list[NDArray[np.intp]]:
    """Groups of two or more ascending indices whose keys are equal."""
    import numpy as np

    # Sorting takes longest, so only those keys are sorted whose upper digits another has too.
    upper = (keys >> np.uint64(64 - UPPER)).view(np.int64)
    among = among & (np.bincount(upper) > 1)[upper]
    del upper
    ordered = keys[among]
    ordered.sort()
    again = ordered[1:] == ordered[:-1]
    first = np.flatnonzero(again & ~np.concatenate(([False], again[:-1])))
    repeated = ordered[first]
    del ordered, again
    if not len(repeated):
        return []
    # By bisection, a block at a time: np.isin would sort all keys once more, in memory of their size.
    found = []
    for start in range(0, len(keys), BLOCK):
        ids = start + np.flatnonzero(among[start : start + BLOCK])
        nearest = repeated[np.minimum(np.searchsorted(repeated, keys[ids]), len(repeated) - 1)]
        found.append(ids[nearest == keys[ids]])
    ids = np.concatenate(found)
    ids = ids[np.argsort(keys[ids], kind="stable")]
    return np.split(ids, np.flatnonzero(np.diff(keys[ids])) + 1)


def _known_unused(rows: int, tokenizer: Tokenizer | None) -> Iterator[NDArray[np.intp]]:
    """Ids that no training text can contain: reserved names, padding, impossible bytes."""
    import numpy as np

    if tokenizer is None:
        return
    reserved = (i for i, content in tokenizer.added.items() if RESERVED.search(content))
    for ids in (reserved, range(tokenizer.size, rows), _impossible(tokenizer)):
        yield np.array(sorted(i for i in ids if i < rows), np.intp)


def _impossible(tokenizer: Tokenizer) -> Iterator[int]:
    # Byte-level vocabularies write these bytes as the Latin-1 letters of the same number, and a space as this letter.
    byte_level = [tokenizer.token(i) for i in tokenizer.encode(" ")] == ["Ġ"]
    for byte in IMPOSSIBLE_BYTES:
        number = tokenizer.id(chr(byte) if byte_level else f"<0x{byte:02X}>")
        if number is not None:
            yield number


def _near(embeddings: Embeddings, living: NDArray[np.bool_], unused: list[NDArray[np.intp]]) -> frozenset[int]:
    found: set[int] = set()
    for seeds in [*unused, *_clusters(embeddings, living)]:
        if not found.issuperset(seeds.tolist()):
            found |= _around(embeddings, living, seeds)
    return frozenset(found)


def _around(embeddings: Embeddings, living: NDArray[np.bool_], seeds: NDArray[np.intp]) -> set[int]:
    """The rows within NEAR_CENTROID of the seeds' centroid: a wide look at the sketch, then the rows themselves."""
    import numpy as np

    centroid = _common_centroid(embeddings, seeds)
    if centroid is None:
        return set()
    scan, norm = embeddings.scan, float(np.linalg.norm(centroid))
    ids = np.flatnonzero(living & (np.abs(scan.norms - norm) <= NEAR_CENTROID * norm))
    target = embeddings.sketch(centroid[None]).astype(np.int16)
    # Twice the radius: the sketch knows distances between directions only to within some 20 %.
    radius = 2 * NEAR_CENTROID * SKETCH_WIDTH**0.5 / SKETCH_STEP
    ids = ids[np.square(scan.sketch[ids] - target, dtype=np.float32).sum(axis=1) <= radius**2]
    found: set[int] = set()
    for part, raw in embeddings.pieces(ids):
        distance = np.linalg.norm(embeddings.values(raw) - centroid, axis=1)
        found.update(part[distance <= NEAR_CENTROID * norm].tolist())
    return found


def _common_centroid(embeddings: Embeddings, seeds: NDArray[np.intp]) -> NDArray[np.float32] | None:
    """The mean of the seeds that lie close together; None where they do not, and so have nothing in common."""
    import numpy as np

    if len(seeds) < CLUSTER:
        return None
    rows = _sample(embeddings, seeds)
    centre = _median(rows)
    close = np.linalg.norm(rows - centre, axis=1) <= NEAR_CENTROID * np.linalg.norm(centre)
    if close.sum() < max(CLUSTER, len(rows) // 2):
        return None
    return np.asarray(rows[close].mean(axis=0), np.float32)


def _sample(embeddings: Embeddings, seeds: NDArray[np.intp]) -> NDArray[np.float32]:
    return embeddings.read(seeds[:: -(-len(seeds) // MOST_SEEDS)])


def _clusters(embeddings: Embeddings, living: NDArray[np.bool_]) -> list[NDArray[np.intp]]:
    """Groups of near-parallel rows, found without names: equal cells of a coarse grid over the sketch."""
    import numpy as np

    sketch = embeddings.scan.sketch
    if embeddings.width < NARROW or not living.any():
        return []
    groups: list[NDArray[np.intp]] = []
    # The width of a cell is the spread of that component; shifted grids find what a border cuts in two.
    sample = sketch[:: -(-len(sketch) // 8192)] if embeddings.chosen is None else sketch[living]
    cell = np.maximum(np.std(sample, axis=0, dtype=np.float32), 1)
    for shift in (0.0, 0.5):
        groups += [g for g in _equal(_cells(sketch, cell, shift), living) if len(g) >= CLUSTER]
    groups.sort(key=len, reverse=True)
    return [g for g in groups[:MOST_CLUSTERS] if _parallel(_sample(embeddings, g))]


def _cells(sketch: NDArray[np.int8], cell: NDArray[np.float32], shift: float) -> NDArray[np.uint64]:
    """A number for the cell that each row lies in: equal for rows of one cell, and by chance for no others."""
    import numpy as np

    draw = random.Random(0)  # noqa: S311  nothing here is secret
    number = np.zeros(len(sketch), np.uint64)
    # The bytes of a component as they are stored: 0 to 127, then -128 to -1.
    stored = np.arange(256, dtype=np.uint8).view(np.int8)
    for component, width in zip(sketch.T, cell, strict=True):
        cells = np.floor(stored / width + shift).astype(np.int64)
        numbers = np.frombuffer(draw.randbytes(8 * 512), np.uint64)[cells]  # for each value of a byte, that of its cell
        for start in range(0, len(sketch), BLOCK):
            number[start : start + BLOCK] ^= numbers[component[start : start + BLOCK].view(np.uint8)]
    return number


def _parallel(rows: NDArray[np.float32]) -> bool:
    import numpy as np

    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return float(_median(unit @ unit.mean(axis=0))) >= PARALLEL
