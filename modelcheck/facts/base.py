"""The base model that a checkpoint was tuned from, where the user names it: its files beside the checkpoint's own."""

from __future__ import annotations

from dataclasses import dataclass

from modelcheck.fact import Missing, NotApplicable, fact
from modelcheck.sources import Source

from .config import Config
from .config import config as read_config
from .embeddings import INPUT
from .files import Files, JsonObject, some
from .heads import HEADS
from .heads import tie as read_tie
from .tensors import Tensor, Tensors, shards
from .tensors import tensors as read_tensors
from .weight_index import weight_index

# Stored or not where it is one with the embedding.
TIED = "lm_head.weight"


@fact
def base_files(base_source: Source | None = None) -> Files:
    """The files of the base model."""
    if base_source is None:
        raise NotApplicable("no base model was named")
    return Files(base_source)


@fact
def base_config(base_files: Files) -> Config:
    """config.json of the base model."""
    return read_config(base_files)


@fact
def base_tokenizer_config(base_files: Files) -> JsonObject:
    """tokenizer_config.json of the base model."""
    base_files.require("tokenizer_config.json", "the base has no tokenizer_config.json")
    return base_files.json_object("tokenizer_config.json")


@fact
def base_generation_config(base_files: Files) -> JsonObject:
    """generation_config.json of the base model."""
    base_files.require("generation_config.json", "the base has no generation_config.json")
    return base_files.json_object("generation_config.json")


@fact
def base_tensors(base_files: Files) -> Tensors:
    """The headers of the base model's weights."""
    try:
        index = weight_index(base_files)
    except NotApplicable:
        index = None
    return read_tensors(base_files, shards(base_files, index), index)


@dataclass(frozen=True, slots=True)
class FitsBase:
    """Whether the weights have the names and shapes of the base's; `why_not` says what differs."""

    why_not: str | None


@fact
def fits_base(tensors: Tensors, base_tensors: Tensors, base_config: Config) -> FitsBase:
    """Compare the headers. The number of rows of embedding and head may differ: tokens may have been added."""
    optional = {TIED} if _may_be_tied(base_config) else set()
    own, theirs = (
        {name: _shape(t) for name, t in side.items() if name not in optional} for side in (tensors, base_tensors)
    )
    missing, further = sorted(theirs.keys() - own.keys()), sorted(own.keys() - theirs.keys())
    reshaped = sorted(name for name in own.keys() & theirs.keys() if own[name] != theirs[name])
    parts = [
        f"{some(names)} {what}"
        for names, what in (
            (missing, "of the base is not in the weights"),
            (further, "is in the weights and not in the base"),
            (reshaped, "has another shape than in the base"),
        )
        if names
    ]
    return FitsBase("; ".join(parts) or None)


def _may_be_tied(base_config: Config) -> bool:
    try:
        return read_tie(base_config).tied
    except Missing:
        return True


def _shape(tensor: Tensor) -> tuple[int, ...]:
    is_vocabulary = tensor.name.endswith((*INPUT, *HEADS))
    return tensor.shape[1:] if is_vocabulary else tensor.shape
