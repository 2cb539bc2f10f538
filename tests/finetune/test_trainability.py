"""What of a model learns, held against what was asked for: on tiny models that PEFT really wrapped."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import pytest
from finetuning import recipe
from peft_bases import model

from modelcheck.finetune.job import Lora
from modelcheck.finetune.trainers.audit import _prompts_held_against
from modelcheck.finetune.trainers.lora import lora_config
from modelcheck.finetune.trainers.trainability import kind_of, trainability

QKV = ("q_proj", "k_proj", "v_proj")


def wrapped(family: str, **lora: Any) -> Any:
    from peft import LoraConfig, get_peft_model

    # Of transformers and PEFT, about each other.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return get_peft_model(model(family), LoraConfig(task_type="CAUSAL_LM", **lora))


def audited(folder: Path, family: str, asked: Any, **lora: Any) -> dict[str, Any]:
    """What the audit says of a model under `lora`, where `asked` are the targets of the recipe."""
    made = recipe(folder, [], lora=Lora(r=4, targets=asked, trainable_tokens="none"))
    return trainability(wrapped(family, r=4, **lora), made)


@pytest.mark.parametrize(("family", "reached"), [("mixtral", True), ("qwen2_moe", True), ("gpt_oss", False)])
def test_all_linear_takes_in_fused_experts_or_not_and_is_blamed_for_neither(
    tmp_path: Path, family: str, reached: bool
) -> None:
    found = audited(tmp_path, family, "all-linear", target_modules="all-linear")
    assert found["frozen"] == found["unasked"] == []
    assert bool(found["kinds"]["experts"]["reached"]) is reached
    assert found["kinds"]["q"]["reached"] > found["kinds"]["q"]["trained"] > 0


def test_dense_layers_that_a_rewritten_all_linear_misses_are_frozen(tmp_path: Path) -> None:
    # PEFT 0.21 takes gate, up and down of Qwen3-MoE for the experts', also in the layers that have none.
    found = audited(tmp_path, "qwen3_moe", "all-linear", target_modules="all-linear")
    assert found["frozen"] == [f"model.layers.0.mlp.{kind}_proj ({kind})" for kind in ("down", "gate", "up")]


def test_a_name_that_the_model_does_not_have_is_frozen(tmp_path: Path) -> None:
    found = audited(tmp_path, "phi3", (*QKV, "o_proj"), target_modules=["o_proj"])
    assert found["frozen"] == [f"{name} (the model has no module of that name)" for name in QKV]


def test_what_was_asked_for_and_left_out_is_named_by_module_and_kind(tmp_path: Path) -> None:
    found = audited(tmp_path, "llama", ("q_proj", "k_proj"), target_modules=["q_proj"])
    assert found["frozen"] == [f"model.layers.{layer}.self_attn.k_proj (k)" for layer in (0, 1)]


def test_embeddings_that_learn_unasked_are_named(tmp_path: Path) -> None:
    found = audited(tmp_path, "llama", QKV, target_modules=list(QKV), modules_to_save=["embed_tokens"])
    assert (found["frozen"], found["unasked"]) == ([], ["model.embed_tokens (embeddings)"])


@pytest.mark.parametrize(("module", "kind"), [
    ("model.layers.0.self_attn.qkv_proj", "fused"),
    ("transformer.h.0.attn.c_attn", "fused"),
    ("model.layers.0.mlp.experts", "experts"),
    ("model.layers.0.mlp.shared_expert.gate_proj", "experts"),
    ("model.layers.0.self_attn.q_norm", "norms"),
    ("model.vision_tower.layers.0.self_attn.q_proj", "vision"),
    ("model.layers.0.mlp.router", "other"),
])  # fmt: skip
def test_kinds(module: str, kind: str) -> None:
    assert kind_of(module) == kind


@pytest.mark.parametrize(("begin", "short"), [(2, []), (3, []), (4, [1])])
def test_the_loss_may_begin_before_the_prompt_ends_and_not_behind_it(begin: int, short: list[int]) -> None:
    ids = [10, 11, 12, 13, 14]
    row = {"row": 1, "input_ids": ids, "labels": [-100] * begin + ids[begin:]}
    found = _prompts_held_against([row], [ids[:3]])
    assert (found["prompts_other"], found["prompts_short"]) == ([], short)


@pytest.mark.parametrize(("targets", "smallest"), [("all-linear", 16), (("q_proj",), 32), (("down_proj",), 32)])
def test_alpha_is_the_root_of_the_smallest_dimension(tmp_path: Path, targets: Any, smallest: int) -> None:
    # Of 32 to 32 (q, o), 32 to 16 (k, v), 32 to 48 and back (the MLP).
    made = recipe(tmp_path, [], lora=Lora(r=4, targets=targets, trainable_tokens="none"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made_of = lora_config(made, model("llama").config)
    assert made_of.lora_alpha == math.sqrt(smallest)
