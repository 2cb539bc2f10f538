"""Tiny base models of several families, and what PEFT really does to them under a LoRA configuration."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import LoraConfig, get_peft_model
from peft.tuners.lora.layer import LoraLayer, ParamWrapper
from peft.utils.other import ModulesToSaveWrapper

SMALL: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
}
EXPERTS: dict[str, Any] = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {"tie_word_embeddings": False}),
    "phi3": ("Phi3Config", {}),
    "gemma": ("GemmaConfig", {"head_dim": 8}),
    "qwen3_moe": ("Qwen3MoeConfig", EXPERTS | {"head_dim": 8, "mlp_only_layers": [0]}),
    "qwen2_moe": ("Qwen2MoeConfig", EXPERTS | {"shared_expert_intermediate_size": 16}),
    "mixtral": ("MixtralConfig", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "gpt_oss": ("GptOssConfig", {"num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 8}),
    "gpt2": ("GPT2Config", {"n_embd": 32, "n_layer": 2, "n_head": 4}),
    "falcon": ("FalconConfig", {}),
}
MOE: dict[str, Any] = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "topk_group": 1}
VISION = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
LATENT = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8}
LINEAR = {f"linear_{name}": 2 for name in ("num_value_heads", "num_key_heads", "key_head_dim", "value_head_dim")}
# Asked in the slow lane: mixtures with dense layers or shared experts, other layouts, models around a language model.
FURTHER: dict[str, tuple[str, dict[str, Any]]] = {
    "deepseek_v3": (
        "DeepseekV3Config",
        MOE | LATENT | {"first_k_dense_replace": 1, "n_group": 2, "num_key_value_heads": 4},
    ),
    "glm4_moe": ("Glm4MoeConfig", MOE | {"first_k_dense_replace": 1, "n_group": 1, "head_dim": 8}),
    "olmoe": ("OlmoeConfig", {"num_experts": 4, "num_experts_per_tok": 2}),
    "granitemoe": ("GraniteMoeConfig", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "llama4": ("Llama4TextConfig", {"num_local_experts": 4, "intermediate_size_mlp": 48, "head_dim": 8}),
    "qwen3_next": (
        "Qwen3NextConfig",
        EXPERTS
        | LINEAR
        | {"layer_types": ["linear_attention", "full_attention"], "head_dim": 8, "shared_expert_intermediate_size": 16},
    ),
    "gpt_neox": ("GPTNeoXConfig", {}),
    "glm4": ("Glm4Config", {"head_dim": 8}),
    "smollm3": ("SmolLM3Config", {}),
    "phi": ("PhiConfig", {"num_key_value_heads": 4}),
    "gemma3": (
        "Gemma3Config",
        {
            "text_config": SMALL | {"head_dim": 8},
            "vision_config": VISION | {"image_size": 28, "patch_size": 14},
            "mm_tokens_per_image": 4,
        },
    ),
    "qwen2_vl": (
        "Qwen2VLConfig",
        {
            "text_config": SMALL | {"rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2]}},
            "vision_config": {"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 4},
        },
    ),
}


@dataclass(frozen=True)
class Trained:
    """What PEFT wrapped: full names of modules and of parameters with LoRA, of modules to save, and ranks by name."""

    modules: frozenset[str] = frozenset()
    parameters: frozenset[str] = frozenset()
    saved: frozenset[str] = frozenset()
    ranks: Mapping[str, int] | None = None
    error: str | None = None


def model(family: str) -> Any:
    """A random model of the family."""
    name, options = (CONFIGS | FURTHER)[family]
    torch.manual_seed(0)
    size = {"vocab_size": 96} if family == "gpt2" else {} if "text_config" in options else SMALL
    config = getattr(transformers, name)(**size | options)
    kind: Any = (
        transformers.AutoModelForImageTextToText if "text_config" in options else transformers.AutoModelForCausalLM
    )
    return kind.from_config(config)


def save(family: str, folder: Path) -> Path:
    """The model as a folder, in bfloat16."""
    model(family).to(torch.bfloat16).save_pretrained(folder)
    return folder


def train(family: str, lora: Mapping[str, Any], folder: Path | None = None) -> Trained:
    """What PEFT does with the configuration; the adapter is saved where a folder is named."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            wrapped = get_peft_model(model(family), LoraConfig(**lora))
        except ValueError as error:
            return Trained(error=str(error))
        if folder:
            wrapped.save_pretrained(str(folder), save_embedding_layers=False)
    found: dict[str, Any] = {"modules": set(), "parameters": set(), "saved": set()}
    ranks = {}
    for name, module in wrapped.get_base_model().named_modules(remove_duplicate=False):
        plain = name.replace(".base_layer", "")
        if isinstance(module, ParamWrapper):
            found["parameters"].add(f"{plain}.{module.parameter_name}")
            ranks[f"{plain}.{module.parameter_name}"] = module.r["default"]
        elif isinstance(module, LoraLayer):
            found["modules"].add(plain)
            ranks[plain] = module.r["default"]
        elif isinstance(module, ModulesToSaveWrapper):
            found["saved"].add(plain)
    modules, parameters, saved = map(frozenset, found.values())
    return Trained(modules, parameters, saved, ranks)
