"""Projections that some architectures fuse into one layer and others keep apart."""

from __future__ import annotations

import re
from collections.abc import Collection

from .adapter_config import Lora
from .base_modules import BaseModules
from .lora_targets import LoraTargets

# (the names of the parts, the names of the whole): attention, then the gated MLP.
FUSED = (
    (("q_proj", "k_proj", "v_proj"), ("qkv_proj", "query_key_value", "Wqkv", "c_attn", "W_pack", "wqkv", "qkv")),
    (("gate_proj", "up_proj"), ("gate_up_proj", "gate_and_up_proj")),
)
WORD = re.compile(r"[A-Za-z_]\w*")


def written(lora: Lora) -> tuple[str, ...]:
    """The names that target_modules writes: its entries, or the words of its regular expression."""
    if isinstance(lora.targets, str):
        return () if lora.all_linear else tuple(dict.fromkeys(WORD.findall(lora.targets)))
    return lora.listed


def stored_otherwise(lora: Lora, targets: LoraTargets, base: BaseModules) -> dict[str, str]:
    """{target that is not in the base: the layers that hold its weights there}."""
    leaves = {name.rpartition(".")[2] for name in base.layers} | {n.rpartition(".")[2] for n in base.on_disk}
    # A list that serves several architectures names both forms, and the one that is there is trained.
    reached = {name.rpartition(".")[2] for name in targets.modules}
    found = {}
    for entry in written(lora):
        if not targets.hits.get(entry) and entry.rpartition(".")[2] not in leaves:
            other = _other_form(entry.rpartition(".")[2], leaves, reached)
            if other:
                found[entry] = other
    return found


def _other_form(name: str, leaves: Collection[str], reached: Collection[str]) -> str | None:
    for parts, wholes in FUSED:
        if name in parts and not set(wholes) & set(reached):
            return next((whole for whole in wholes if whole in leaves), None)
        if name in wholes and set(parts) <= set(leaves) and not set(parts) & set(reached):
            return f"{', '.join(parts[:-1])} and {parts[-1]}"
    return None
