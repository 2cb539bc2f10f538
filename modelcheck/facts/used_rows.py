"""Which rows of the embedding are worth reading where reading all of them would be a download."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from modelcheck.fact import fact

from .embeddings import FLOATS
from .special_tokens import SpecialTokens, StopIds
from .tensors import Tensor
from .tokenizer import Tokenizer
from .untrained import RESERVED

# A request costs as much as some hundred kilobytes, so the sample is taken in blocks of neighbours.
SAMPLE_ROWS, SAMPLE_BYTES, BLOCKS = 2048, 6 << 20, 32
# Tokens that were added but are perhaps never written, most of them one after the other.
ADDED_ROWS, ADDED_BYTES = 256, 4 << 20


@fact
def used_rows(
    embedding_tensor: Tensor,
    special_tokens: SpecialTokens,
    stop_ids: StopIds,
    tokenizer: Tokenizer | None = None,
    emitted: Mapping[int, tuple[str, ...]] | None = None,
) -> frozenset[int]:
    """Ids of the rows in use (the template's, the special-token fields', stop ids), of added tokens, and of a sample.

    The rows of added tokens are what those in use are compared with; the sample, blocks spread evenly, tells what is
    usual.
    """
    number, width = embedding_tensor.shape
    row = max(1, width * FLOATS.get(embedding_tensor.dtype, 1))
    used = {*(emitted or {}), *stop_ids.in_force}
    if tokenizer:
        named = (tokenizer.id(token.content) for _, token in special_tokens)
        used |= {i for i in named if i is not None}
        used |= set(_added(tokenizer, min(ADDED_ROWS, ADDED_BYTES // row)))
    sample = _blocks(number, min(SAMPLE_ROWS, SAMPLE_BYTES // row))
    return frozenset(i for i in (*used, *sample) if 0 <= i < number)


def _added(tokenizer: Tokenizer, most: int) -> Iterable[int]:
    """The added tokens, those with a name of their own before those that are reserved."""
    return sorted(tokenizer.added, key=lambda i: (bool(RESERVED.search(tokenizer.added[i])), i))[:most]


def _blocks(number: int, wanted: int) -> Iterator[int]:
    size = max(1, wanted // BLOCKS)
    for block in range(min(BLOCKS, max(1, wanted))):
        start = block * number // BLOCKS
        yield from range(start, min(start + size, number))
