"""Phi-3's fused projections as separate ones, and the class that computes the same with those.

Read in transformers 5.23: Phi3ForCausalLM is LlamaForCausalLM, or with a sliding window MistralForCausalLM, but for the
fused layers, the long rotary factors, a partial rotation and the dropout of residuals.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from modelcheck.edit import DropJson, Edit, SetJson, SplitTensor
from modelcheck.facts.config import Config
from modelcheck.facts.embeddings import FLOATS
from modelcheck.facts.expressions import Unanswerable, integer
from modelcheck.facts.tensors import Tensors
from modelcheck.fixer import CannotFix

QKV, GATE_UP = "self_attn.qkv_proj", "mlp.gate_up_proj"
# What Phi3Config has where a config.json does not say, and the other classes have otherwise.
DEFAULTS: dict[str, Any] = {
    "vocab_size": 32064, "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 32,
    "num_attention_heads": 32, "max_position_embeddings": 4096, "rms_norm_eps": 1e-05, "bos_token_id": 1,
    "eos_token_id": 32000, "pad_token_id": 32000, "sliding_window": None,
}  # fmt: skip
# Phi3ForCausalLM has no biases, whatever its config says.
BIASES = ("attention_bias", "mlp_bias")


def split_tensors(config: Config, tensors: Tensors) -> Iterator[Edit]:
    """One edit for each fused tensor. Raises CannotFix for layers that are not Phi-3's."""
    if config.root.get("model_type") != "phi3" or config.root.get("architectures") not in (None, ["Phi3ForCausalLM"]):
        raise CannotFix(
            f"how {config.root.get('model_type')!r} lays out its fused layers is not known here, only how phi3 does"
        )
    fused = [name for name in (*tensors, *tensors.absent) if f".{QKV}." in name or f".{GATE_UP}." in name]
    for name in fused:
        if name not in tensors:
            raise CannotFix(f"{name} is in {tensors.absent[name]}, which is not in the folder: fetch it first")
        if tensors[name].dtype not in FLOATS or not name.endswith(".weight"):
            raise CannotFix(f"{name} is stored as {tensors[name].dtype}: split the model before it is quantised")
    heads, kv_heads, gated = _rows(config)
    for name in fused:
        stem, fused_name = name.removesuffix(".weight").rsplit(".", 1)
        parts = {"q": heads, "k": kv_heads, "v": kv_heads} if fused_name == "qkv_proj" else {"gate": gated, "up": gated}
        yield SplitTensor(name, tuple((f"{stem}.{part}_proj.weight", rows) for part, rows in parts.items()))


def split_config(config: Config) -> Iterator[Edit]:
    """The config of the class with separate layers. Raises CannotFix where there is none that computes the same."""
    said = config.root
    _refuse_rotation(config)
    if dropout := next((key for key in ("resid_pdrop", "embd_pdrop") if said.get(key)), None):
        raise CannotFix(f"{dropout} is {said[dropout]}, and no class with separate layers has such a dropout")
    kind, name = ("mistral", "Mistral") if said.get("sliding_window") is not None else ("llama", "Llama")
    yield SetJson(config.file, "/model_type", kind)
    yield SetJson(config.file, "/architectures", [f"{name}ForCausalLM"])
    if "auto_map" in said:
        yield DropJson(config.file, "/auto_map")
    unsaid = {key: value for key, value in _defaults(said).items() if key not in said}
    unsaid |= {key: False for key in BIASES if said.get(key)}
    yield from (SetJson(config.file, f"/{key}", value) for key, value in unsaid.items())


def _defaults(said: Mapping[str, Any]) -> dict[str, Any]:
    """What Phi3Config has for keys that are not said."""
    return DEFAULTS | {"num_key_value_heads": said.get("num_attention_heads", DEFAULTS["num_attention_heads"])}


def _rows(config: Config) -> tuple[int, int, int]:
    """The rows of the queries, of the keys or values, and of the gate."""
    keys = _defaults(config.root) | {key: value for key, value in config.root.items() if value is not None}
    head_dim = "head_dim" if "head_dim" in keys else "(hidden_size // num_attention_heads)"
    parts = f"num_attention_heads * {head_dim}", f"num_key_value_heads * {head_dim}", "intermediate_size"
    try:
        queries, keys_or_values, gate = (integer(part, keys.__getitem__) for part in parts)
    except Unanswerable as why:
        raise CannotFix(f"{config.file} does not say how many rows the parts have: {why}") from why
    return queries, keys_or_values, gate


def _refuse_rotation(config: Config) -> None:
    rope = config.root.get("rope_scaling") or config.root.get("rope_parameters") or {}
    kind = rope.get("rope_type", rope.get("type", "default")) if isinstance(rope, dict) else rope
    if kind != "default":
        raise CannotFix(
            f"its rotary embedding is {kind!r}, for which Phi3ForCausalLM has code of its own: no class with separate "
            "layers computes the same; target qkv_proj and gate_up_proj instead"
        )
    factor = rope.get("partial_rotary_factor", config.root.get("partial_rotary_factor"))
    if factor not in (None, 1):
        raise CannotFix(
            f"it rotates {factor} of each head, and the classes with separate layers rotate all of it: target "
            "qkv_proj and gate_up_proj instead"
        )
