"""How many rows the input embedding has, which is how many ids there may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from modelcheck.fact import Missing, NotApplicable, fact

from .config import Config
from .embeddings import FLOATS, holding_embedding, input_embedding
from .files import Files
from .tensors import Shard, Tensors
from .weight_index import WeightIndex


@dataclass(frozen=True, slots=True)
class Rows:
    """The number of rows, and what says so, in words."""

    number: int
    said_by: str


@fact
def rows(
    files: Files, shards: Mapping[str, Shard], weight_index: WeightIndex | None = None, config: Config | None = None
) -> Rows:
    """From the stored tensor; from vocab_size of config.json where it is not at hand, or packed."""
    holding = holding_embedding(shards, weight_index).values()
    at_hand = {name: tensor for shard in holding for name, tensor in shard.tensors.items()}
    try:
        tensor = input_embedding(Tensors(at_hand, {}))
    except Missing:
        tensor = None
    if tensor is not None and tensor.dtype in FLOATS:
        return Rows(tensor.shape[0], f"the rows of {tensor.name}")
    if config is None:
        files.require("config.json", "there is no embedding and no config.json")
        raise NotApplicable("there is no embedding and no config.json")
    # Speech models have a vocabulary at the root and another in the text part: the larger one bounds every id.
    sizes = [size for of_text in (False, True) if (size := config.integer("vocab_size", of_text=of_text)) is not None]
    if not sizes:
        raise NotApplicable("config.json has no vocab_size")
    return Rows(max(sizes), "vocab_size in config.json")
