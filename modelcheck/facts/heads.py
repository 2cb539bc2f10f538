"""The unembedding: which tensor it is, and whether it is one with the embedding."""

from __future__ import annotations

from dataclasses import dataclass

from modelcheck.fact import Missing, fact

from .config import Config
from .embeddings import OTHER_TOWERS
from .expected import table
from .files import expect
from .tensors import Tensors

HEADS = ("lm_head.weight", "embed_out.weight")


@dataclass(frozen=True, slots=True)
class Tie:
    """Whether embedding and unembedding are one, and where that is said; `said` is False for the class's default."""

    tied: bool
    at: str
    said: bool


@fact
def tie(config: Config) -> Tie:
    """tie_word_embeddings as the model's class reads it. Raises Missing where nobody knows the class's default."""
    at, value = config.where("tie_word_embeddings")
    if value is not None:
        return Tie(expect(config.file, at, value, bool), at, said=True)
    model_type = config.root.get("model_type")
    known = table(model_type)
    if known is None or "tie_word_embeddings" not in known.defaults:
        raise Missing(f"config.json has no tie_word_embeddings, and no table says what {model_type!r:.40} has for it")
    return Tie(known.defaults["tie_word_embeddings"], at, said=False)


def stored_head(tensors: Tensors) -> str | None:
    """The name of the language model's unembedding, in a shard at hand or not."""
    names = [name for name in (*tensors, *tensors.absent) if name.endswith(HEADS) and _of_the_language_model(name)]
    return min(names, key=lambda name: (name.count("."), name), default=None)


def _of_the_language_model(name: str) -> bool:
    *path, _, _ = ("", *name.split("."))
    return not any(tower in part for part in path for tower in OTHER_TOWERS)
