"""How long the rows of the embedding are, in bins: a picture in which rows that were never trained stand apart."""

from __future__ import annotations

from dataclasses import dataclass

from modelcheck.fact import fact

from .embeddings import Embeddings
from .untrained import NEAR_ZERO, Untrained

BINS = 40
# Where all rows have the same norm, the bins cover so much on either side of it.
AROUND = 1.05


@dataclass(frozen=True, slots=True)
class NormHistogram:
    """L2 norms of the rows of `tensor`; of its `rows` rows, `read` were read.

    `counts[i]` rows have a norm from `edges[i]` to `edges[i + 1]`; the edges ascend by equal ratios. Both are empty
    where no row is left for them. In no bin are the `near_zero` rows, whose norm is at most `threshold` (a thousandth
    of the median), and the `not_finite` rows, which hold a NaN or an infinity.
    """

    tensor: str
    rows: int
    read: int
    median: float
    threshold: float
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    near_zero: int
    not_finite: int


@fact
def norm_histogram(embeddings: Embeddings, untrained: Untrained) -> NormHistogram:
    """The norms of the rows that were read, as the scan of the embedding has them (to within half a per cent)."""
    import numpy as np

    norms = embeddings.scan.norms.astype(np.float64)
    finite = norms[np.isfinite(norms)]
    living = finite[finite > NEAR_ZERO * untrained.median]
    edges, counts = np.empty(0), np.empty(0, np.intp)
    if len(living):
        low, high = float(living.min()), float(living.max())
        if low == high:
            low, high = low / AROUND, high * AROUND
        edges = np.geomspace(low, high, BINS + 1)
        counts, _ = np.histogram(living, edges)
    return NormHistogram(
        tensor=embeddings.tensor.name,
        rows=embeddings.rows,
        read=embeddings.read_rows,
        median=untrained.median,
        threshold=NEAR_ZERO * untrained.median,
        edges=tuple(edges.tolist()),
        counts=tuple(counts.tolist()),
        near_zero=len(untrained.near_zero),
        not_finite=embeddings.read_rows - len(finite),
    )
