"""The adapter of a recipe: PEFT's configuration, with an alpha that may follow from the model."""

from __future__ import annotations

import copy
import math
from typing import Any

from modelcheck.finetune.job import Lora
from modelcheck.finetune.protocol import StageError
from modelcheck.finetune.recipe import Recipe


def lora_config(recipe: Recipe, model_config: Any) -> Any:
    """The LoraConfig of a recipe. Raises StageError where it fits nothing in the model."""
    from peft import LoraConfig

    lora = recipe.train.lora
    made: Any = LoraConfig(
        r=lora.r,
        lora_alpha=1,
        lora_dropout=lora.dropout,
        target_modules=lora.targets if isinstance(lora.targets, str) else list(lora.targets),
        use_rslora=lora.rslora or recipe.train.method == "rslora",
        use_dora=recipe.train.method == "dora",
        trainable_token_indices=list(recipe.untrained) or None,
        task_type="CAUSAL_LM",
    )
    made.lora_alpha = lora.alpha if not isinstance(lora.alpha, str) else math.sqrt(_smallest(made, model_config, lora))
    return made


def on_meta(model_config: Any) -> Any:
    """The model of a configuration at its full depth, without memory for its weights."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(copy.deepcopy(model_config))  # type: ignore[no-untyped-call]


def wrapped_on_meta(model_config: Any, config: Any) -> Any:
    """The model that PEFT really makes of a configuration, without memory for its weights."""
    from peft import get_peft_model

    try:
        return get_peft_model(on_meta(model_config), copy.deepcopy(config), low_cpu_mem_usage=True)
    except ValueError as error:  # PEFT's own words name the targets and what the model has
        raise StageError(f"train.lora fits nothing in the model: {error}") from error


def _smallest(config: Any, model_config: Any, lora: Lora) -> int:
    """The smallest dimension of the layers that the adapter goes to."""
    from peft.tuners.lora.layer import LoraLayer

    layers = [m for m in wrapped_on_meta(model_config, config).modules() if isinstance(m, LoraLayer)]
    sizes = [size for m in layers for size in (m.in_features, m.out_features) if size]
    if not sizes:
        raise StageError(f"train.lora.targets = {lora.targets!r} matches no layer: alpha cannot be derived")
    return min(sizes)
