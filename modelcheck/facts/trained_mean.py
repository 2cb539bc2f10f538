"""What a row could be that nothing has trained yet: the mean of the trained rows, and a noise of its own."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from modelcheck.fact import Missing, fact

from .embeddings import FLOATS, Embeddings
from .files import Files
from .heads import Tie, stored_head
from .tensors import Tensors
from .tokenizer import Tokenizer
from .untrained import NEAR_CENTROID, Untrained, untrained

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The noise is a tenth of the spread of the trained rows, or more where their mean is long: rows closer together than
# NEAR_CENTROID of it look as if nothing had trained them, to our rules and to the model. It is never more than the
# spread itself, that of a trained row.
NOISE, APART, MOST_NOISE = 0.1, 2 * NEAR_CENTROID, 1.0


@dataclass(frozen=True, slots=True)
class TrainedMean:
    """The trained rows of one matrix: their `mean` and standard deviation `spread`, each [width] float32."""

    tensor: str
    mean: NDArray[np.float32]
    spread: NDArray[np.float32]

    @property
    def noise(self) -> float:
        """The length of a new row's noise, as a fraction of that of `spread`."""
        import numpy as np

        mean, spread = float(np.linalg.norm(self.mean)), float(np.linalg.norm(self.spread))
        return min(MOST_NOISE, max(NOISE, APART * mean / spread))

    def row(self, number: int) -> NDArray[np.float32]:
        """A row for this token id, [width] float32, the same each time."""
        import numpy as np

        draw = random.Random(number)  # noqa: S311  its sequence is the same in every version; nothing here is secret
        noise = self.spread * np.array([draw.gauss(0, 1) for _ in self.spread], np.float32)
        length = self.noise * np.linalg.norm(self.spread) / np.linalg.norm(noise)
        return np.asarray(self.mean + length * noise, np.float32)


@dataclass(frozen=True, slots=True)
class NewRows:
    """Rows to put in the place of those that were never trained.

    `means`: of the input embedding and, where it is stored, of the unembedding. `mendable`: {tensor: ids}, those of the
    embedding without `originals`: of each group of bit-identical rows the one that the others may be copies of. The
    unembedding's are those among them that are untrained there too: a row of its own there has been trained, if only
    not to be said.
    """

    means: Mapping[str, TrainedMean]
    mendable: Mapping[str, frozenset[int]]
    originals: Mapping[int, frozenset[int]]
    _given: dict[frozenset[int], dict[str, dict[int, NDArray[np.float32]]]] = field(default_factory=dict)

    def of(self, ids: Collection[int]) -> dict[str, dict[int, NDArray[np.float32]]]:
        """{tensor: {id: row}} for the untrained ones among these ids, and the copies of those that are originals."""
        twins = frozenset().union(*(self.originals.get(i, ()) for i in ids))
        wanted = frozenset(ids) | twins
        if wanted not in self._given:  # the findings of a rule all ask for the same rows
            self._given[wanted] = {
                name: {i: self.means[name].row(i) for i in sorted(wanted & mendable)}
                for name, mendable in self.mendable.items()
            }
        return self._given[wanted]


@fact
def new_rows(
    files: Files,
    embeddings: Embeddings,
    untrained: Untrained,
    tensors: Tensors,
    tie: Tie,
    tokenizer: Tokenizer | None = None,
) -> NewRows:
    """Rows for every token that was never trained, in the embedding and in an unembedding of its own."""
    added = frozenset(tokenizer.added if tokenizer else ())
    # Tokens are added to a vocabulary, and often begin as copies: the plain word, or the lowest id, came first.
    originals = {
        min(group, key=lambda i: (i >= (untrained.size or untrained.rows), i in added, i)): group
        for group in untrained.identical
    }
    name = embeddings.tensor.name
    mendable = {name: untrained.certain - originals.keys()}
    means = {name: _trained_mean(embeddings, untrained, untrained.certain)}
    if head := _head(files, tensors, embeddings):
        dead = _untrained_in(head, untrained, tokenizer)
        mendable[head.tensor.name] = mendable[name] & dead
        means[head.tensor.name] = means[name] if tie.tied else _trained_mean(head, untrained, untrained.certain | dead)
    return NewRows(means, mendable, originals)


def _head(files: Files, tensors: Tensors, embeddings: Embeddings) -> Embeddings | None:
    name = stored_head(tensors)
    if name is None:
        return None
    if name not in tensors:
        raise Missing(f"{name} is in {tensors.absent[name]}, which is not in the folder")
    head = tensors[name]
    if head.dtype not in FLOATS or head.shape != embeddings.tensor.shape:
        raise Missing(f"{name} is {head.dtype} {list(head.shape)}, other than {embeddings.tensor.name}")
    return Embeddings(files, head)


def _untrained_in(head: Embeddings, of_embedding: Untrained, tokenizer: Tokenizer | None) -> frozenset[int]:
    return untrained(head, tokenizer).certain if of_embedding.certain else frozenset()


def _trained_mean(matrix: Embeddings, untrained: Untrained, dead: Collection[int]) -> TrainedMean:
    """Mean and spread of the rows but the dead, the doubtful, the padding and those that are not finite: one pass."""
    import numpy as np

    trained = np.isfinite(matrix.scan.norms)
    trained[list({*dead, *untrained.near_centroid})] = False
    trained[matrix.rows if untrained.size is None else untrained.size :] = False
    total, squares = np.zeros((2, matrix.width))
    start = 0
    for raw in matrix.chunks():
        rows = matrix.values(raw)[trained[start : start + len(raw)]]
        total += rows.sum(axis=0, dtype=np.float64)
        squares += np.square(rows).sum(axis=0, dtype=np.float64)
        start += len(raw)
    mean = total / max(1, trained.sum())
    spread = np.sqrt(np.maximum(squares / max(1, trained.sum()) - mean**2, 0))
    if not spread.any():
        raise Missing(f"{matrix.tensor.name} has no trained rows that differ, so nothing says what a row looks like")
    return TrainedMean(matrix.tensor.name, mean.astype(np.float32), spread.astype(np.float32))
