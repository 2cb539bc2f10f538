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
    name, options = CONFIGS[family]
    torch.manual_seed(0)
    size = {"vocab_size": 96} if family == "gpt2" else SMALL
    config = getattr(transformers, name)(**size | options)
    return transformers.AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]


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
