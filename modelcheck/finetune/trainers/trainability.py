"""What of a wrapped model really learns, by kind of parameter, held against what the recipe asks for."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from modelcheck.finetune.recipe import Recipe

# The first that matches a parameter's module names its kind.
KINDS = {
    "vision": re.compile(r"vision|visual|image|audio|multi_modal_projector"),
    "norms": re.compile(r"norm|\bln_|layernorm"),
    "embeddings": re.compile(r"embed|\bwte$|\bwpe$"),
    "head": re.compile(r"\b(lm_head|embed_out|output_layer)$"),
    "experts": re.compile(r"experts?\b"),
    "fused": re.compile(r"(qkv|query_key_value|wqkv|w_pack|c_attn|gate_up)", re.IGNORECASE),
    "q": re.compile(r"\b(q_proj|q_a_proj|q_b_proj|wq|query)$"),
    "k": re.compile(r"\b(k_proj|wk|key)$"),
    "v": re.compile(r"\b(v_proj|wv|value)$"),
    "o": re.compile(r"\b(o_proj|out_proj|wo|dense)$"),
    "gate": re.compile(r"\b(gate_proj|w1)$"),
    "up": re.compile(r"\b(up_proj|w3|c_fc|dense_h_to_4h)$"),
    "down": re.compile(r"\b(down_proj|w2|mlp\.c_proj|dense_4h_to_h)$"),
}
# What lies around the layers and between their matrices: `all-linear` does not ask for it.
BETWEEN = ("embeddings", "head", "norms")
# What PEFT puts into the path of a module that it wraps, or hangs below it.
WRAPPING = re.compile(r"^base_model\.model\.|\.base_layer|\.original_module|\.token_adapter")
ADDED = re.compile(r"\.(lora_\w+|trainable_tokens_\w+|modules_to_save)\b.*")
SHOWN = 12


@dataclass
class _Module:
    """One module of the base: its own parameters, those of them that learn, and what an adapter adds."""

    total: int = 0
    own: int = 0
    added: int = 0
    tokens: int = 0


def kind_of(module: str) -> str:
    """The kind of a module by its name: `q`, `experts`, `norms`, ...; `other` where no pattern knows it."""
    return next((kind for kind, pattern in KINDS.items() if pattern.search(module)), "other")


def trainability(model: Any, recipe: Recipe) -> dict[str, Any]:
    """`kinds`: {kind: {total, trained, reached}} in parameters of the base, of the adapter, and of the base under it.

    `frozen`: what was asked for and does not learn; `unasked`: what learns and was not asked for; both in words.
    """
    modules = _modules(model)
    kinds: dict[str, dict[str, int]] = defaultdict(lambda: {"total": 0, "trained": 0, "reached": 0})
    for name, module in modules.items():
        found = kinds[kind_of(name)]
        found["total"] += module.total
        found["trained"] += module.own + module.added
        found["reached"] += module.total if module.added else module.own
    frozen, unasked = _held_against(modules, _asked(model, modules, recipe), recipe)
    return {"method": recipe.train.method, "kinds": dict(kinds), "frozen": frozen, "unasked": unasked}


def _modules(model: Any) -> dict[str, _Module]:
    found: dict[str, _Module] = defaultdict(_Module)
    for name, parameter in model.named_parameters():
        plain = WRAPPING.sub("", name)
        owner = ADDED.sub("", plain) if ADDED.search(plain) else plain.rpartition(".")[0]
        module = found[owner]
        if not ADDED.search(plain):
            module.total += parameter.numel()
            module.own += parameter.numel() if parameter.requires_grad else 0
        elif parameter.requires_grad:
            module.added += parameter.numel()
            module.tokens += "trainable_tokens" in plain
    return found


def _asked(model: Any, modules: dict[str, _Module], recipe: Recipe) -> set[str]:
    """The modules that the recipe asks to train, but for single token rows."""
    targets = recipe.train.lora.targets
    if not recipe.adapts:
        return set(modules)
    if targets == "all-linear":
        # Fused experts and routers are no linear modules, and PEFT takes them in for some families (Mixtral, Qwen3).
        taken = {name for name, module in modules.items() if module.added and kind_of(name) not in BETWEEN}
        return set(_linear(model)) & set(modules) | taken
    names = [targets] if isinstance(targets, str) else targets
    return {m for m in modules for name in names if m == name or m.endswith(f".{name}")}


def _linear(model: Any) -> Iterator[str]:
    from torch.nn import Linear
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    for name, module in model.named_modules():
        if isinstance(module, (Linear, Conv1D)) and module is not head and not ADDED.search(f".{name}"):
            yield WRAPPING.sub("", name)


def _held_against(modules: dict[str, _Module], asked: set[str], recipe: Recipe) -> tuple[list[str], list[str]]:
    idle = [name for name in sorted(asked) if not modules[name].own + modules[name].added]
    frozen = [f"{name} ({kind_of(name)})" for name in idle]
    targets = recipe.train.lora.targets
    if recipe.adapts and not isinstance(targets, str):
        absent = [name for name in targets if not any(m == name or m.endswith(f".{name}") for m in modules)]
        frozen += [f"{name} (the model has no module of that name)" for name in absent]
    if recipe.untrained and not any(module.tokens for module in modules.values()):
        frozen.append(f"the rows of {len(recipe.untrained)} untrained tokens (embeddings)")
    busy = [name for name in sorted(modules) if modules[name].own + modules[name].added and name not in asked]
    unasked = [f"{name} ({kind_of(name)})" for name in busy if not (recipe.untrained and modules[name].tokens)]
    return _few(frozen), _few(unasked)


def _few(names: list[str]) -> list[str]:
    return names if len(names) <= SHOWN else [*names[:SHOWN], f"{len(names) - SHOWN} more"]
