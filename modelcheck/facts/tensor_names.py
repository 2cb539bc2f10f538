"""What tensor names say about how a checkpoint came to be: still wrapped, packed, or only a part of it at hand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from modelcheck.fact import NotApplicable, fact

from .config import Config
from .expected import table
from .files import JsonObject
from .tensors import Tensors

# Leftovers of PEFT, torch.compile and data parallelism, in the order in which they are looked for.
WRAPPERS = {
    "lora": re.compile(r"(^|\.)lora_(A|B|embedding_A|embedding_B|magnitude_vector)(\.|$)"),
    "modules_to_save": re.compile(r"\.modules_to_save\."),
    "base_layer": re.compile(r"\.base_layer\."),
    "base_model.model.": re.compile(r"^base_model\.model\."),
    "_orig_mod.": re.compile(r"(^|\.)_orig_mod\."),
    "module.": re.compile(r"^module\."),
    "model.model.": re.compile(r"^model\.model\."),
}
PART = re.compile(r"-(\d{5})-of-(\d{5})\.safetensors$")
# Types of integers and of very short floats: what quantised weights are packed into.
PACKED = re.compile(r"(I8|U8|I16|U16|I32|U32|F8_\w+|F6_\w+|F4)$")


@dataclass(frozen=True, slots=True)
class Wrapped:
    """Names that carry what a wrapper put there, by wrapper; each name once."""

    names: Mapping[str, tuple[str, ...]]

    def __bool__(self) -> bool:
        return bool(self.names)


@fact
def wrapped(config: Config, tensors: Tensors) -> Wrapped:
    """Names of a full model that its class does not have, because a wrapper was saved along."""
    own = set()
    if any("lora" in key.lower() and isinstance(value, dict) for key, value in config.root.items()):
        own = {"lora", "base_layer"}  # a model whose own architecture holds adapters says so in its config
    known = table(config.root.get("model_type"))
    found: dict[str, list[str]] = {}
    for name in (*tensors, *tensors.absent):
        kind = next((kind for kind, pattern in WRAPPERS.items() if pattern.search(name)), None)
        # Doubled is a fault only where we know that the class's own names are not.
        if kind and kind not in own and (kind != "model.model." or (known and known.prefix == "model")):
            found.setdefault(kind, []).append(name)
    return Wrapped({kind: tuple(names) for kind, names in found.items()})


@dataclass(frozen=True, slots=True)
class Quantization:
    """What the config says of quantised weights, and where."""

    at: str
    settings: JsonObject


@fact
def quantization(config: Config) -> Quantization:
    """quantization_config or compression_config; an empty one says nothing."""
    for key in ("quantization_config", "compression_config"):
        at, value = config.where(key)
        if isinstance(value, dict) and value:
            return Quantization(at, value)
    raise NotApplicable("the config announces no quantised weights")


def packed(tensors: Tensors) -> str | None:
    """The name of a tensor that is stored quantised. Masks of old models are integers too, and called bias."""
    return next(
        (
            t.name
            for t in tensors.values()
            if PACKED.match(t.dtype) and len(t.shape) > 1 and not t.name.endswith(("bias", "mask", "position_ids"))
        ),
        None,
    )


def part_of(shards: Iterable[str], tensors: Tensors) -> str | None:
    """Why not all tensors are known, though no index says that one is missing."""
    for name in shards:
        if match := PART.search(name):
            beside = sum(PART.search(other) is not None for other in shards)
            if beside < int(match[2]) and not tensors.absent:
                return f"{name} is one of {int(match[2])} shards, of which {beside} are in the folder"
    return None
