"""Tensors that the architecture has and the checkpoint has not, or has in another shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from modelcheck.fact import Missing, fact

from .config import Config
from .embeddings import input_embedding
from .expected import Expected, architecture_table, expand
from .expressions import Unanswerable
from .periodic import Gap, Shape, periodic_gaps
from .tensor_names import Quantization, Wrapped, packed, part_of
from .tensors import Shard, Tensors

# Fewer than one in so many of the expected names: the names are of another kind altogether.
STRANGE = 4


@dataclass(frozen=True, slots=True)
class Gaps:
    """`gaps` by comparison with `model`: a class that a table knows, or the other layers.

    `unsure` says why there was no table to compare with.
    """

    gaps: tuple[Gap, ...]
    model: str
    unsure: str | None = None


@fact
def tensor_gaps(
    config: Config,
    tensors: Tensors,
    shards: Mapping[str, Shard],
    wrapped: Wrapped,
    quantization: Quantization | None = None,
) -> Gaps:
    """Compared with the table of the architecture or, where there is none, layer with layer."""
    if quantization:
        raise Missing("the config announces quantised weights, which have other tensors")
    _refuse_incomparable(tensors, shards, wrapped)
    stored: dict[str, Shape | None] = {**dict.fromkeys(tensors.absent), **{t.name: t.shape for t in tensors.values()}}
    try:
        table = architecture_table(config)
        tower = _tower(tensors) if config.text is not config.root else None
        expected = expand(table, {**config.text, **_vocabulary(tensors)})
        return Gaps(_compared(expected, stored, tower), table.architecture)
    except Missing as why:
        unsure = why.reason
    except Unanswerable as why:
        unsure = f"the table does not say: {why}"
    return Gaps(tuple(periodic_gaps(stored)), "the other layers", unsure)


def _refuse_incomparable(tensors: Tensors, shards: Mapping[str, Shard], wrapped: Wrapped) -> None:
    if wrapped:
        raise Missing(f"tensor names are still wrapped ({next(iter(wrapped.names))}): see wrapper-prefix")
    if name := packed(tensors):
        raise Missing(f"{name} is stored quantised")
    if reason := part_of(shards, tensors):
        raise Missing(reason)


def _vocabulary(tensors: Tensors) -> dict[str, int]:
    """The rows of the embedding: whether they are vocab_size is the question of vocab-size-rows."""
    try:
        return {"vocab_size": input_embedding(tensors).shape[0]}
    except Missing:
        return {}


def _tower(tensors: Tensors) -> str:
    """What stands before the names of the language model of a multimodal one: `language_model.model.` or the like."""
    return input_embedding(tensors).name.rpartition(".")[0].rpartition(".")[0] + "."


def _compared(expected: Expected, stored: Mapping[str, Shape | None], tower: str | None) -> tuple[Gap, ...]:
    own = f"{expected.prefix}."
    places = [own, ""] if tower is None else [tower]
    candidates = [
        {place + name.removeprefix(own) if name.startswith(own) else name: shape for name, shape in layout.items()}
        for layout in expected.layouts
        for place in places
    ]
    nearest = max(candidates, key=lambda layout: len(layout.keys() & stored.keys()))
    if len(nearest.keys() & stored.keys()) * STRANGE < len(nearest):
        raise Missing("the names of the tensors are not those that transformers saves")
    heads = {expected.head, *(name for name in nearest if name == "lm_head.weight")}
    gaps = [Gap(name, shape) for name, shape in nearest.items() if name not in stored and name not in heads]
    for name, shape in nearest.items():
        found = stored.get(name)
        if found is not None and found != shape:
            gaps.append(Gap(name, shape, found))
    return tuple(gaps)
