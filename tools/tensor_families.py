"""What tools/tensor_tables.py probes: for each architecture small dimensions that can be told apart, and switches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Three probes: a table is fitted on the first two and must predict the third.
Three = tuple[Any, Any, Any]
LAYERS: Three = (5, 6, 7)
BASE: dict[str, Three] = {
    "vocab_size": (131, 167, 211),
    "hidden_size": (84, 96, 120),
    "intermediate_size": (101, 149, 197),
    "num_hidden_layers": LAYERS,
    "num_attention_heads": (6, 8, 10),
    "num_key_value_heads": (3, 2, 5),
}
HEAD_DIM: dict[str, Three] = {"head_dim": (12, 20, 28)}
# Of classes that heed no head_dim, or only in places: the width is that of the heads together.
PLAIN: dict[str, Three] = BASE | {"hidden_size": (72, 160, 280)}
WIDE = BASE | HEAD_DIM
MLA: dict[str, Three] = {
    "kv_lora_rank": (17, 19, 23),
    "q_lora_rank": (29, 31, 37),
    "qk_nope_head_dim": (13, 21, 26),
    "qk_rope_head_dim": (8, 10, 14),
    "v_head_dim": (11, 15, 27),
}
DEEPSEEK = {key: value for key, value in PLAIN.items() if key != "num_key_value_heads"} | MLA
EXPERTS: Three = (4, 7, 9)
# Published models of this kind share one expert among all tokens, or two.
SHARED: Three = (2, 3, 1)
DENSE_FIRST = "layer < first_k_dense_replace"
SPARSE = "layer not in mlp_only_layers and (layer + 1) % decoder_sparse_step == 0"
SPARSE_STEPS: dict[str, Three] = {"decoder_sparse_step": (2, 3, 1), "mlp_only_layers": ([1], [2], [0])}
ROUTED = {"num_experts_per_tok": 2}
GROUPS = {"num_experts_per_tok": 2, "n_group": 1, "topk_group": 1}


@dataclass(frozen=True, slots=True)
class Family:
    """What is probed of an architecture.

    `dimensions`: key to the values of the three probes. `switches`: key to its value when off; when on it is True,
    or its value among the dimensions. `layers`: expressions that may say which layers have a tensor. `derived`:
    expressions that stand for keys that this config lacks. `absent`: what the class makes of a key that is null.
    """

    dimensions: Mapping[str, Three]
    switches: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    layers: Sequence[str] = ()
    derived: Sequence[str] = ()
    absent: Mapping[str, str | list[int]] = field(default_factory=dict)


WIDTH_OF_A_HEAD = "hidden_size // num_attention_heads"
ABSENT: dict[str, str | list[int]] = {
    "head_dim": WIDTH_OF_A_HEAD,
    "num_key_value_heads": "num_attention_heads",
    "mlp_only_layers": [],
}


def _family(dimensions: Mapping[str, Three], *switches: str, **more: Any) -> Family:
    off = dict.fromkeys(("tie_word_embeddings", *switches), False) | more.pop("off", {})
    derived = () if "head_dim" in dimensions else more.pop("derived", (WIDTH_OF_A_HEAD,))
    known = more.pop("fixed", {}), more.pop("layers", ())
    # An empty text: the class makes nothing of a null, such a model cannot be built.
    return Family(dimensions, off, *known, derived, {key: text for key, text in (ABSENT | more).items() if text != ""})


GPT2: dict[str, Three] = {
    "vocab_size": (131, 167, 211),
    "n_embd": (72, 160, 280),
    "n_layer": LAYERS,
    "n_head": (6, 8, 10),
    "n_positions": (43, 47, 53),
    "n_inner": (101, 149, 197),
}
FALCON: dict[str, Three] = {
    "vocab_size": (131, 167, 211),
    "hidden_size": (72, 160, 280),
    "num_hidden_layers": LAYERS,
    "num_attention_heads": (6, 8, 10),
    "num_kv_heads": (3, 2, 5),
    "ffn_hidden_size": (101, 149, 197),
}
LLAMA4: dict[str, Three] = WIDE | {"intermediate_size_mlp": (103, 151, 199), "num_local_experts": EXPERTS}

FAMILIES: dict[str, Family] = {
    "cohere": _family(WIDE, "attention_bias", "use_qk_norm"),
    "cohere2": _family(WIDE, "attention_bias"),
    "deepseek_v2": _family(
        DEEPSEEK
        | {"moe_intermediate_size": (61, 67, 71), "n_routed_experts": EXPERTS, "n_shared_experts": SHARED}
        | {"first_k_dense_replace": (1, 2, 3)},
        "attention_bias",
        off={"q_lora_rank": None},
        fixed=GROUPS,
        layers=[DENSE_FIRST],
    ),
    "deepseek_v3": _family(
        DEEPSEEK
        | {"moe_intermediate_size": (61, 67, 71), "n_routed_experts": EXPERTS, "n_shared_experts": SHARED}
        | {"first_k_dense_replace": (1, 2, 3)},
        "attention_bias",
        off={"q_lora_rank": None},
        fixed=GROUPS,
        layers=[DENSE_FIRST],
    ),
    "ernie4_5": _family(WIDE, "use_bias"),
    "exaone4": _family(WIDE),
    "falcon": _family(
        FALCON,
        "bias",
        "new_decoder_architecture",
        "multi_query",
        "parallel_attn",
        num_kv_heads="num_attention_heads",
        ffn_hidden_size="4 * hidden_size",
    ),
    "gemma": _family(WIDE, "attention_bias"),
    "gemma2": _family(WIDE, "attention_bias"),
    "gemma3_text": _family(WIDE, "attention_bias"),
    "glm": _family(WIDE, "attention_bias"),
    "glm4": _family(WIDE, "attention_bias"),
    "glm4_moe": _family(
        WIDE
        | {"moe_intermediate_size": (61, 67, 71), "n_routed_experts": EXPERTS, "n_shared_experts": SHARED}
        | {"first_k_dense_replace": (1, 2, 3)},
        "attention_bias",
        "use_qk_norm",
        fixed=GROUPS,
        layers=[DENSE_FIRST],
    ),
    "gpt2": _family(GPT2, derived=(), n_inner="4 * n_embd"),
    "gpt_bigcode": _family(GPT2, "multi_query", derived=("n_embd // n_head",), n_inner="4 * n_embd"),
    "gpt_neox": _family({key: value for key, value in PLAIN.items() if key != "num_key_value_heads"}, "attention_bias"),
    "gpt_oss": _family(WIDE | {"num_local_experts": EXPERTS}, "attention_bias", fixed=ROUTED),
    "granite": _family(WIDE, "attention_bias", "mlp_bias"),
    "granitemoe": _family(WIDE | {"num_local_experts": EXPERTS}, "attention_bias", fixed=ROUTED),
    "hunyuan_v1_dense": _family(WIDE, "attention_bias", head_dim=""),
    "llama": _family(WIDE, "attention_bias", "mlp_bias"),
    "llama4_text": _family(
        LLAMA4 | {"moe_layers": ([1, 3], [0, 2, 5], [2])},
        "attention_bias",
        fixed={"num_experts_per_tok": 1},
        layers=["layer in moe_layers"],
    ),
    "ministral3": _family(WIDE),
    "mistral": _family(WIDE),
    "mixtral": _family(WIDE | {"num_local_experts": EXPERTS}, fixed=ROUTED),
    "nemotron": _family(WIDE, "attention_bias", "mlp_bias", num_key_value_heads=""),
    "olmo": _family(WIDE, "attention_bias"),
    "olmo2": _family(WIDE, "attention_bias"),
    "olmo3": _family(WIDE, "attention_bias"),
    "olmoe": _family(PLAIN | {"num_experts": EXPERTS}, "attention_bias", fixed=ROUTED),
    "phi": _family(PLAIN, "qk_layernorm"),
    "phi3": _family(WIDE),
    "phimoe": _family(WIDE | {"num_local_experts": EXPERTS}, "attention_bias", "lm_head_bias", fixed=ROUTED),
    "qwen2": _family(WIDE),
    "qwen2_moe": _family(
        WIDE
        | {"moe_intermediate_size": (61, 67, 71), "num_experts": EXPERTS}
        | {"shared_expert_intermediate_size": (73, 79, 83)}
        | SPARSE_STEPS,
        "qkv_bias",
        fixed=ROUTED,
        layers=[SPARSE],
    ),
    "qwen3": _family(WIDE, "attention_bias"),
    "qwen3_moe": _family(
        WIDE | {"moe_intermediate_size": (61, 67, 71), "num_local_experts": EXPERTS} | SPARSE_STEPS,
        "attention_bias",
        fixed=ROUTED,
        layers=[SPARSE],
    ),
    "seed_oss": _family(WIDE, "attention_bias", "attention_out_bias", "mlp_bias"),
    "smollm3": _family(WIDE, "attention_bias", "mlp_bias"),
    "stablelm": _family(PLAIN, "use_qkv_bias", "qk_layernorm", "use_parallel_residual"),
    "starcoder2": _family(WIDE, "use_bias"),
}
