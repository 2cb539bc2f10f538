"""The modules of the base model that PEFT will see, read off the names and shapes in the safetensors headers."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from modelcheck.fact import fact
from modelcheck.target import Targets

from .config import Config
from .embeddings import INPUT
from .tensors import Tensors

# A parameter of a layer: `weight`, `weight_scale`, `weight.absmax`, or the parts of a packed one.
PARAMETER = re.compile(
    r"\.(weight([._].*)?|bias|qweight|qzeros|scales|g_idx|(input|output|k|v)_scale|running_\w+|num_batches_tracked)"
)
EXPERT = re.compile(r"(?P<at>.+\.experts)\.\d+\.(?P<name>\w+)")
# How transformers 5 stacks the experts of a mixture as it loads them.
STACKED = {
    "gate_proj": "gate_up_proj", "up_proj": "gate_up_proj", "w1": "gate_up_proj", "w3": "gate_up_proj",
    "down_proj": "down_proj", "w2": "down_proj",
}  # fmt: skip
# Names of old in mixtures of experts, which transformers 5 changes as it loads (conversion_mapping.py, 5.23).
RENAMED = (
    (re.compile(r"\.block_sparse_moe\.(?=experts\.\d|gate\.)"), ".mlp."),
    (re.compile(r"\.block_sparse_moe\.input_linear\.weight$"), ".block_sparse_moe.experts.gate_up_proj"),
    (re.compile(r"\.block_sparse_moe\.output_linear\.weight$"), ".block_sparse_moe.experts.down_proj"),
    (re.compile(r"\.block_sparse_moe\.router\.layer\."), ".block_sparse_moe.router."),
)
EMBEDS = re.compile(r"(.*embeddings?|wpe)")
# A router is a module of its own kind, but for these model types, where it is a linear layer.
LINEAR_ROUTERS = frozenset({"llama4", "llama4_text"})
HEADS = ("lm_head", "embed_out", "output_layer")
FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
# Read in peft 0.21 (utils/transformers_weight_conversion.py) and transformers 5.23 (conversion_mapping.py): for these
# model types PEFT turns targets that name experts of old into parameters of the stacked ones.
LIKE_MIXTRAL = frozenset({"mixtral", "minimax", "minimax_m2"})
LIKE_QWEN = frozenset({
    "Dots3NoteTextModel", "UnlimitedOcrTextModel", "afmoe", "beam", "cohere2_moe", "deepseek_v2", "deepseek_v3",
    "deepseek_v32", "dots1", "ernie4_5_moe", "exaone_moe", "flex_olmo", "glm4_moe", "glm4_moe_lite", "glm4v_moe",
    "glm_moe_dsa", "hunyuan_v1_moe", "longcat_flash", "mellum", "olmoe", "qwen3_moe", "qwen3_next", "qwen3_omni_moe",
    "qwen3_omni_moe_text", "qwen3_omni_moe_thinker", "solar_open",
})  # fmt: skip
MIXTRAL_TARGETS = {"gate": "gate.weight", "w1": "gate_up_proj", "w3": "gate_up_proj", "w2": "down_proj"}
QWEN_TARGETS = {
    "gate": "gate.weight", "gate_proj": "gate_up_proj", "up_proj": "gate_up_proj", "down_proj": "down_proj"
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Module:
    """A layer: `kind` is linear, embedding or other. `shape` is that of its weight, None where it is not stored so."""

    name: str
    kind: str
    shape: tuple[int, ...] | None
    dtype: str = ""


@dataclass(frozen=True, slots=True)
class BaseModules:
    """What the base model consists of, once loaded.

    `layers`: those with a weight of their own. `containers`: the modules around them. `parameters`: every parameter by
    its full name, with its shape; those of `stacked` are experts in one tensor. `on_disk`: layers that are stored one
    by one and stacked as they are loaded. `conversions`: {target of old: parameter} as PEFT rewrites a LoRA config.
    `nested`: a model around a language model, so that names in memory may differ from those in the files. A head that
    is not `head_stored` is tied to the embedding.
    """

    layers: Mapping[str, Module]
    containers: frozenset[str]
    parameters: Mapping[str, tuple[int, ...] | None]
    stacked: frozenset[str]
    on_disk: frozenset[str]
    conversions: Mapping[str, str]
    nested: bool = False
    head_stored: bool = True

    @property
    def head(self) -> str | None:
        """The output head: `all-linear` leaves it out."""
        return next((n for n in self.layers if n.rpartition(".")[2] in HEADS), None)

    def names(self) -> Iterator[str]:
        """Every module's name."""
        yield from self.layers
        yield from self.containers


def linear_names(base: BaseModules, kind: str = "linear") -> str:
    """The last parts of the names of the base's layers of a kind, and of its head, for messages."""
    names = [n.rpartition(".")[2] for n, module in base.layers.items() if module.kind == kind or n == base.head]
    return ", ".join(list(dict.fromkeys(names))[:10])


@fact
def base_modules(tensors: Tensors, config: Config, target: Targets) -> BaseModules:
    """The modules of the base model as transformers loads it (5 or later, unless the target is an older one)."""
    stored = {name: (t.shape, t.dtype) for name, t in tensors.items()} | dict.fromkeys(tensors.absent, (None, ""))
    as_stored = _is_old(target) or _is_remote(config)
    layers, parameters = _layers(stored if as_stored else {renamed(n): value for n, value in stored.items()})
    on_disk = frozenset() if as_stored else frozenset(n for n in layers if EXPERT.fullmatch(n))
    parameters |= _stack(layers, on_disk)
    layers = {name: module for name, module in layers.items() if name not in on_disk}
    stacked = frozenset(n for n in parameters if _is_stacked(n, parameters[n]))
    if config.root.get("model_type") not in LINEAR_ROUTERS:
        _set_routers(layers, stacked)
    head_stored = not _add_tied_head(layers)
    parameters |= {f"{name}.weight": module.shape for name, module in layers.items()}
    return BaseModules(
        layers,
        _containers([*layers, *parameters]) - layers.keys(),
        parameters,
        stacked,
        on_disk,
        {} if as_stored else _conversions(config),
        nested=config.text is not config.root,
        head_stored=head_stored,
    )


def _is_old(target: Targets) -> bool:
    return any(
        t.runtime == "transformers" and t.version and (t.version < (5,) or (t.operator == "<" and t.version == (5,)))
        for t in target.named
    )


def _is_remote(config: Config) -> bool:
    """Whether the model needs code of its own: transformers has a class for many whose config still has an auto_map."""
    return "auto_map" in config.root and config.root.get("model_type") not in LIKE_MIXTRAL | LIKE_QWEN


def _conversions(config: Config) -> Mapping[str, str]:
    kind = config.root.get("model_type")
    if kind in LIKE_MIXTRAL:
        return MIXTRAL_TARGETS
    return QWEN_TARGETS if kind in LIKE_QWEN else {}


def _layers(
    shapes: Mapping[str, tuple[tuple[int, ...] | None, str]],
) -> tuple[dict[str, Module], dict[str, tuple[int, ...] | None]]:
    found: dict[str, dict[str, tuple[tuple[int, ...] | None, str]]] = defaultdict(dict)
    bare: dict[str, tuple[int, ...] | None] = {}
    for name, stored in shapes.items():
        if match := PARAMETER.search(name):
            found[name[: match.start()]][name[match.start() + 1 :]] = stored
        else:
            bare[name] = stored[0]
    return {name: _module(name, parts) for name, parts in found.items()}, bare


def _module(name: str, parts: Mapping[str, tuple[tuple[int, ...] | None, str]]) -> Module:
    if name.rpartition(".")[2] == "experts":  # a parameter that happens to be called `weight`
        return Module(name, "other", None)
    shape, dtype = parts.get("weight", (None, ""))
    embeds = f"{name}.weight".endswith(INPUT) or EMBEDS.fullmatch(name.rpartition(".")[2])
    if shape is None or dtype not in FLOATS:  # in a shard that is not here, or packed: the shape is not the layer's
        kind = "embedding" if embeds else "other" if "norm" in name.rpartition(".")[2] else "linear"
        return Module(name, kind, None, dtype)
    kind = "embedding" if embeds else "linear" if len(shape) == 2 else "convolution" if len(shape) > 2 else "other"
    return Module(name, kind, shape, dtype)


def renamed(name: str) -> str:
    """A tensor's name as transformers 5 has it."""
    for old, new in RENAMED:
        name = old.sub(new, name)
    return name


def _stack(layers: dict[str, Module], on_disk: frozenset[str]) -> dict[str, tuple[int, ...] | None]:
    """The parameters that experts stored one by one become."""
    members: dict[str, list[Module]] = defaultdict(list)
    for name in on_disk:
        match = EXPERT.fullmatch(name)
        if match and (new := STACKED.get(match["name"])):
            members[f"{match['at']}.{new}"].append(layers[name])
    return {name: _stacked_shape(name, experts) for name, experts in members.items()}


def _set_routers(layers: dict[str, Module], stacked: frozenset[str]) -> None:
    """Beside stacked experts the router is a module of its own kind, which LoRA cannot be put on."""
    around = {name.rpartition(".experts.")[0] for name in stacked}
    for router in {f"{place}.{name}" for place in around for name in ("gate", "router")} & layers.keys():
        layers[router] = Module(router, "other", layers[router].shape, layers[router].dtype)


def _stacked_shape(name: str, experts: list[Module]) -> tuple[int, ...] | None:
    shape = experts[0].shape
    both = 2 if name.endswith("gate_up_proj") else 1
    return (len(experts) // both, both * shape[0], shape[1]) if shape and len(shape) == 2 else None


def _is_stacked(name: str, shape: tuple[int, ...] | None) -> bool:
    inside = ".experts." in name and not name.endswith(("bias", "_scales"))
    return inside and (shape is None or len(shape) >= 3)


def _add_tied_head(layers: dict[str, Module]) -> bool:
    """Add the head that is not stored because it is tied: PEFT finds it all the same. Returns whether there is one."""
    inputs = [n for n, m in layers.items() if m.kind == "embedding" and f"{n}.weight".endswith(INPUT)]
    if not inputs or any(n.rpartition(".")[2] in (*HEADS, "score", "classifier") for n in layers):
        return False
    embedding = layers[min(inputs, key=lambda n: (n.count("."), n))]
    layers["lm_head"] = Module("lm_head", "linear", embedding.shape, embedding.dtype)
    return True


def _containers(names: list[str]) -> frozenset[str]:
    found: set[str] = set()
    for name in names:
        while (name := name.rpartition(".")[0]) and name not in found:
            found.add(name)
    return frozenset(found)
