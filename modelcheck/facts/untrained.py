"""Which embedding rows were never trained: three independent tests, because each misses what the others find."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelcheck.fact import fact

from .embeddings import Embeddings, Scan
from .tokenizer import Tokenizer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# RULES tok: 1 % of the median norm lies between Llama-3's dead rows (1e-21) and its living ones (0.05 and up),
# whatever the scale (gpt-oss: median 128). Ten per cent would flag "{" and "," in published models.
NEAR_ZERO = 0.01
# SmolLM2: its dead rows lie within 20 % of their common centroid.
NEAR_CENTROID = 0.20
# Two of these agree by chance in one pair of 10^9; a cluster must have several members that agree this well.
PARALLEL, CLUSTER = 0.99, 4
RESERVED = re.compile(r"reserved|unused|placeholder|extra_id|dummy|\bpad_?\d+", re.IGNORECASE)
# Bytes that no UTF-8 text contains: their tokens cannot have been trained.
IMPOSSIBLE_BYTES = frozenset({0xC0, 0xC1, *range(0xF5, 0x100)})


@dataclass(frozen=True, slots=True)
class Untrained:
    """Ids of rows that were never trained, by the test that found them. A row is in the first that finds it.

    `near_zero`: norm at most 1 % of the median. `identical`: groups of bit-identical rows. `near_centroid`: close to the
    common centroid of rows known to be unused. `size` is 1 + the tokenizer's largest id, so ids from there on are
    padding; None without a tokenizer.
    """

    near_zero: frozenset[int]
    identical: tuple[frozenset[int], ...]
    near_centroid: frozenset[int]
    rows: int
    size: int | None

    @property
    def certain(self) -> frozenset[int]:
        """The rows of the first two tests."""
        return self.near_zero.union(*self.identical)

    def padding(self, ids: Iterable[int]) -> frozenset[int]:
        """Those of the ids that are beyond the tokenizer."""
        return frozenset(i for i in ids if self.size is not None and i >= self.size)


@fact
def untrained(embeddings: Embeddings, tokenizer: Tokenizer | None = None) -> Untrained:
    """The never-trained rows of the input embedding."""
    import numpy as np

    scan = embeddings.scan
    finite = scan.norms[np.isfinite(scan.norms)]
    median = float(np.median(finite)) if finite.size else 0.0
    near_zero = np.flatnonzero(scan.norms <= NEAR_ZERO * median)
    living = np.ones(len(scan.norms), bool)
    living[near_zero] = False
    identical = _identical(embeddings, scan, living)
    for group in identical:
        living[list(group)] = False
    known = [*sorted(set().union(*identical)), *_known_unused(embeddings.rows, tokenizer)]
    near = _near(embeddings, scan, living, [i for i in known if i not in set(near_zero.tolist())])
    size = tokenizer.size if tokenizer else None
    return Untrained(frozenset(near_zero.tolist()), identical, near, embeddings.rows, size)


def _identical(embeddings: Embeddings, scan: Scan, living: NDArray[np.bool_]) -> tuple[frozenset[int], ...]:
    candidates: dict[bytes, list[int]] = defaultdict(list)
    for group in _equal(_mixed(scan.prints), living):
        for number in group:
            candidates[embeddings.row_bytes(number)].append(number)
    groups = [frozenset(ids) for ids in candidates.values() if len(ids) > 1]
    return tuple(sorted(groups, key=min))


def _mixed(columns: NDArray[np.integer]) -> NDArray[np.uint64]:
    """One number for each row of integers: equal rows give equal numbers, others nearly never do."""
    import numpy as np

    weights = np.random.default_rng(0).integers(1, 1 << 63, columns.shape[1], np.uint64) | np.uint64(1)
    mixed = np.zeros(len(columns), np.uint64)
    for column, weight in zip(columns.T, weights, strict=True):
        mixed = (mixed ^ column.astype(np.uint64)) * weight
    return mixed


def _equal(keys: NDArray[np.uint64], among: NDArray[np.bool_]) -> list[list[int]]:
    """Groups of two or more indices whose keys are equal."""
    import numpy as np

    ids = np.flatnonzero(among)
    order = ids[np.argsort(keys[ids])]
    cuts = np.flatnonzero(keys[order][1:] != keys[order][:-1]) + 1
    bounds = np.concatenate([[0], cuts, [len(order)]])
    return [order[bounds[i] : bounds[i + 1]].tolist() for i in np.flatnonzero(np.diff(bounds) > 1)]


def _known_unused(rows: int, tokenizer: Tokenizer | None) -> list[int]:
    """Ids that no training text can contain: padding, reserved names, impossible bytes."""
    if tokenizer is None:
        return []
    reserved = (i for i, content in tokenizer.added.items() if i < rows and RESERVED.search(content))
    return [*reserved, *range(tokenizer.size, rows), *(i for i in _impossible(tokenizer) if i < rows)]


def _impossible(tokenizer: Tokenizer) -> Iterable[int]:
    for byte in IMPOSSIBLE_BYTES:
        number = tokenizer.id(f"<0x{byte:02X}>")
        if number is not None:
            yield number


def _near(embeddings: Embeddings, scan: Scan, living: NDArray[np.bool_], known: Sequence[int]) -> frozenset[int]:
    found: set[int] = set()
    for seeds in [list(known), *_clusters(embeddings, scan, living)]:
        centroid = _common_centroid(embeddings, seeds)
        if centroid is not None:
            found |= _around(embeddings, scan, living, centroid)
    return frozenset(found)


def _common_centroid(embeddings: Embeddings, seeds: Sequence[int]) -> NDArray[np.float32] | None:
    """The mean of the seeds that lie close together; None where they do not, and so have nothing in common."""
    import numpy as np

    if len(seeds) < CLUSTER:
        return None
    rows = embeddings.read(seeds[:4096])
    centroid = np.median(rows, axis=0)
    close = np.linalg.norm(rows - centroid, axis=1) <= NEAR_CENTROID * np.linalg.norm(centroid)
    if close.sum() < max(CLUSTER, len(rows) // 2):
        return None
    return rows[close].mean(axis=0, dtype=np.float32)


def _around(embeddings: Embeddings, scan: Scan, living: NDArray[np.bool_], centroid: NDArray[np.float32]) -> set[int]:
    """The rows within NEAR_CENTROID of the centroid: a wide look at the sketch, then the rows themselves."""
    import numpy as np

    norm = float(np.linalg.norm(centroid))
    similar_norm = np.abs(scan.norms - norm) <= NEAR_CENTROID * norm
    ids = np.flatnonzero(similar_norm & living)
    target = embeddings.sketch(centroid)
    spread = np.linalg.norm(scan.sketch[ids] - target, axis=1)
    # The sketch keeps distances to within some 20 %; twice the radius loses nothing.
    ids = ids[spread <= 2 * NEAR_CENTROID * max(float(np.linalg.norm(target)), 1.0)]
    rows = embeddings.read(ids.tolist())
    return set(ids[np.linalg.norm(rows - centroid, axis=1) <= NEAR_CENTROID * norm].tolist())


def _clusters(embeddings: Embeddings, scan: Scan, living: NDArray[np.bool_]) -> list[list[int]]:
    """Groups of near-parallel rows, found without names: equal cells of a coarse grid over the sketch."""
    import numpy as np

    finite = living & np.isfinite(scan.sketch).all(axis=1)
    if not finite.any():
        return []
    width = scan.sketch[finite].std(axis=0)
    width[width == 0] = 1
    groups = []
    for shift in (0.0, 0.33, 0.66):
        with np.errstate(invalid="ignore"):
            cells = np.floor(scan.sketch / width + np.float32(shift)).astype(np.int8)
        groups += [g for g in _equal(_mixed(cells), finite) if len(g) >= CLUSTER]
    return [g for g in groups if _parallel(embeddings.read(g[:64]))]


def _parallel(rows: NDArray[np.float32]) -> bool:
    import numpy as np

    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return float(np.median(unit @ unit.mean(axis=0))) >= PARALLEL
