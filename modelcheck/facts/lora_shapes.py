"""What is wrong between the tensors of a LoRA adapter, its configuration and its base, by kind of fault."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from .adapter_config import Lora
from .adapter_tensors import PREFIX, AdapterTensors
from .base_modules import BaseModules, renamed
from .lora_targets import LoraTargets
from .tensors import Tensor, Tensors

# What a model in memory may have before the names of its file, or lack.
WRAPPERS = re.compile(r"((base_model|model|transformer|language_model|text_model)\.)+")
ROLES = {"lora_A": "lora_B", "lora_B": "lora_A", "lora_embedding_A": "lora_embedding_B"}
ROLES |= {"lora_embedding_B": "lora_embedding_A"}
Pair = Mapping[str, Tensor]


def alone(tensors: AdapterTensors) -> Iterator[tuple[str, str]]:
    """(tensor, fault) of factors without their counterpart, and of names that PEFT does not read."""
    for pair in tensors.pairs.values():
        for role, tensor in pair.items():
            if ROLES[role] not in pair:
                yield tensor.name, f"has no {ROLES[role]} beside it"
    for name in tensors.tensors:
        if name.count(PREFIX) > 1:
            yield name, f"begins with {PREFIX!r} twice"
        elif ".default." in name and ".lora_" in name:
            yield name, "holds the adapter's name, which PEFT leaves out when it saves"


def wrong_ranks(tensors: AdapterTensors, ranks: Mapping[str, int], usual: int) -> Iterator[tuple[str, str]]:
    """(tensor, fault) of factors whose inner dimension is not the configured rank."""
    by_plain = {plain(name): rank for name, rank in ranks.items()}
    for module, pair in tensors.pairs.items():
        if ".experts" in module:  # the rank is that of every expert, laid out in ways that changed
            continue
        rank = by_plain.get(plain(module), usual)
        for role, tensor in pair.items():
            inner = tensor.shape[1 if role.endswith("B") else 0] if len(tensor.shape) == 2 else None
            if inner is not None and inner != rank:
                yield tensor.name, f"has shape {list(tensor.shape)}, the configuration says rank {rank}"


def strangers(tensors: AdapterTensors, base: BaseModules) -> Iterator[tuple[str, str]]:
    """(tensor, fault) of pairs for modules that the base does not have."""
    known = {plain(name) for name in (*base.names(), *base.on_disk, *base.parameters)}
    for module, pair in tensors.pairs.items():
        name = plain(module.replace(".base_layer", ""))
        # Adapters that were trained on transformers 4 have the names of then, which PEFT knows how to read.
        if name not in known and renamed(f"{name}.weight").removesuffix(".weight") not in known:
            yield next(iter(pair.values())).name, "is for a module that the base does not have"


def wrong_shapes(tensors: AdapterTensors, base: BaseModules, stored: Tensors) -> Iterator[tuple[str, str]]:
    """(tensor, fault) of factors and whole modules that do not fit the base's layers."""
    layers = {
        plain(name): module.shape for name, module in base.layers.items() if module.kind in ("linear", "embedding")
    }
    for module, pair in tensors.pairs.items():
        shape = layers.get(plain(module))
        # Conv1D layers (GPT-2) are stored the other way round, embeddings are read so.
        sides = {shape, shape[::-1]} if shape else set()
        outer = _outer(pair)
        if shape and outer and outer not in sides:
            yield next(iter(pair.values())).name, f"fits a layer of {list(outer)}, the base's is {list(shape)}"
    weights = {plain(name): tensor.shape for name, tensor in stored.items()}
    for name, tensor in tensors.other.items():
        shape = weights.get(plain(name.replace(".modules_to_save", "").replace(".original_module", "")))
        if shape and tensor.dtype in ("F64", "F32", "F16", "BF16") and tensor.shape != shape and "lora_" not in name:
            yield name, f"has shape {list(tensor.shape)}, the base's is {list(shape)}"


def untouched(lora: Lora, tensors: AdapterTensors, targets: LoraTargets) -> tuple[str, ...]:
    """Targeted modules of the base that the adapter has no tensors for."""
    if lora.is_on("layer_replication") or lora.is_on("trainable_token_indices"):
        return ()
    known = {plain(module) for module in tensors.pairs}
    return tuple(sorted(name for name in targets.modules if plain(name) not in known))


def plain(name: str) -> str:
    """A module's name without what wraps the model in memory or in a file."""
    match = WRAPPERS.match(name)
    return name[match.end() :] if match else name


def _outer(pair: Pair) -> tuple[int, int] | None:
    """(out, in) of the layer that a pair is for."""
    for a, b in (("lora_A", "lora_B"), ("lora_embedding_A", "lora_embedding_B")):
        if a in pair and b in pair and len(pair[a].shape) == len(pair[b].shape) == 2:
            return pair[b].shape[0], pair[a].shape[1]
    return None
