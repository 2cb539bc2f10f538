"""The base model that a checkpoint was tuned from, where the user names it: its files beside the checkpoint's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any

from modelcheck.fact import Malformed, Missing, NotApplicable, NotPassed, fact
from modelcheck.sources import Source

from .chat_template import chat_template
from .config import Config, config, generation_config
from .embeddings import INPUT
from .files import Files, some
from .heads import HEADS
from .heads import tie as read_tie
from .special_tokens import special_tokens, special_tokens_map, tokenizer_config
from .tensors import Tensor, Tensors, shards, tensors
from .tokenizer import tokenizer_json
from .weight_index import weight_index

# Stored or not where it is one with the embedding.
TIED = "lm_head.weight"
# Facts of the run, which both checkpoints share.
SHARED = frozenset({"target", "weights", "renderer"})


@contextmanager
def blaming_the_base(*, needed: bool = False) -> Iterator[None]:
    """Say of the base what it lacks. A broken file of it is no fault of the checkpoint: that could not be checked.

    Nor could it where what every base has is not there.
    """
    try:
        yield
    except NotPassed:
        raise
    except NotApplicable as failure:
        raise (Missing if needed else NotApplicable)(f"in the base, {failure}") from failure
    except Missing as failure:
        raise type(failure)(f"in the base, {failure}") from failure
    except Malformed as failure:
        raise Missing(f"in the base, {failure}") from failure


def of_base(definition: Callable[..., Any], *, needed: bool = False) -> Callable[..., Any]:
    """The same fact of the base: `base_` stands before its name, and before the names of the facts that it needs."""
    signature = inspect.signature(definition)
    renamed = {name if name in SHARED else f"base_{name}": name for name in signature.parameters}

    @wraps(definition)
    def read(**facts: Any) -> Any:
        with blaming_the_base(needed=needed):
            return definition(**{renamed[name]: value for name, value in facts.items()})

    parameters = [p.replace(name=name) for name, p in zip(renamed, signature.parameters.values(), strict=True)]
    read.__name__ = f"base_{definition.__name__}"
    vars(read)["__signature__"] = signature.replace(parameters=parameters)
    return read


@fact
def base_files(base_source: Source | None = None) -> Files:
    """The files of the base model."""
    if base_source is None:
        raise NotApplicable("no base model was named")
    return Files(base_source)


base_config = of_base(config, needed=True)
base_generation_config = of_base(generation_config)
base_tokenizer_config = of_base(tokenizer_config)
base_special_tokens_map = of_base(special_tokens_map)
base_special_tokens = of_base(special_tokens)
base_chat_template = of_base(chat_template)
base_tokenizer_json = of_base(tokenizer_json)
base_weight_index = of_base(weight_index)
base_shards = of_base(shards)
base_tensors = of_base(tensors)


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
