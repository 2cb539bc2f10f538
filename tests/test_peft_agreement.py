"""What the facts say from headers about a LoRA configuration is what PEFT really does with it."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from peft_bases import CONFIGS, Trained, save, train

from modelcheck import packs
from modelcheck.engine import Options
from modelcheck.facts.lora_targets import LoraTargets
from modelcheck.resolver import Resolver
from modelcheck.sources.local import LocalFolder
from modelcheck.sources.setup import set_up

QKV, MLP = ["q_proj", "k_proj", "v_proj"], ["gate_proj", "up_proj", "down_proj"]
COMBINATIONS: list[tuple[str, dict[str, Any]]] = [
    ("llama", {"target_modules": QKV}),
    ("llama", {"target_modules": [*QKV, *MLP, "o_proj", "lm_head", "embed_tokens"]}),
    ("llama", {"target_modules": ["q_proj", "qkv_proj", "lora_magnitude_vector"]}),
    ("llama", {"target_modules": ["qkv_proj"]}),
    ("llama", {"target_modules": "all-linear"}),
    ("llama", {"target_modules": r".*layers\.0\.(self_attn|mlp)\.(q|up)_proj"}),
    ("llama", {"target_modules": "q_proj"}),
    ("llama", {"target_modules": ["self_attn"]}),
    ("llama", {"target_modules": ["input_layernorm"]}),
    ("llama", {"target_modules": ["proj"]}),
    ("llama", {"target_modules": ["layers.1.mlp.up_proj", "0.self_attn.q_proj"]}),
    ("llama", {"target_modules": QKV, "exclude_modules": ["layers.0.self_attn.q_proj"]}),
    ("llama", {"target_modules": QKV, "exclude_modules": r".*\.(q|k)_proj"}),
    ("llama", {"target_modules": QKV, "layers_to_transform": [1]}),
    ("llama", {"target_modules": QKV, "layers_to_transform": 0, "layers_pattern": "layers"}),
    ("llama", {"target_modules": QKV, "layers_to_transform": [7]}),
    ("llama", {"target_modules": QKV, "modules_to_save": ["embed_tokens", "lm_head"]}),
    ("llama", {"target_modules": QKV, "modules_to_save": ["wte", "norm"]}),
    ("llama", {"target_modules": ["lm_head"], "modules_to_save": ["lm_head"]}),
    ("llama", {"target_modules": QKV, "rank_pattern": {"q_proj": 2, r".*\.0\.self_attn\.(q|k)_proj": 16}}),
    ("llama", {"target_modules": QKV, "rank_pattern": {"layers.0.self_attn.k_proj": 2, "o_proj": 3}}),
    ("llama", {"target_modules": [], "target_parameters": ["mlp.up_proj.weight"]}),
    ("llama", {"target_modules": "dummy"}),
    ("phi3", {"target_modules": QKV}),
    ("phi3", {"target_modules": [*QKV, *MLP, "o_proj"]}),
    ("phi3", {"target_modules": ["qkv_proj", "gate_up_proj"], "rank_pattern": {"qkv_proj": 12}}),
    ("phi3", {"target_modules": "all-linear"}),
    ("phi3", {"target_modules": ["o_proj"], "modules_to_save": ["embed_tokens", "score"]}),
    ("gemma", {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}),
    ("gemma", {"target_modules": ["q_proj", "lm_head"]}),
    ("gemma", {"target_modules": "all-linear"}),
    ("gemma", {"target_modules": ["embed_tokens", "fc1"]}),
    ("gemma", {"target_modules": [*QKV, *MLP], "modules_to_save": ["embed_tokens"]}),
    ("qwen3_moe", {"target_modules": QKV}),
    ("qwen3_moe", {"target_modules": [*QKV, *MLP], "r": 4}),
    ("qwen3_moe", {"target_modules": ["up_proj"]}),
    ("qwen3_moe", {"target_modules": ["down_proj"]}),
    ("qwen3_moe", {"target_modules": ["q_proj", "gate"]}),
    ("qwen3_moe", {"target_modules": "all-linear"}),
    ("qwen3_moe", {"target_modules": r".*\.(q_proj|gate_proj|up_proj)"}),
    ("qwen3_moe", {"target_modules": r".*\.(q_proj|gate_proj)"}),
    ("qwen3_moe", {"target_modules": ["q_proj"], "target_parameters": ["mlp.experts.down_proj"]}),
    ("qwen3_moe", {"target_modules": ["q_proj"], "target_parameters": ["experts.up_proj"]}),
    ("qwen2_moe", {"target_modules": [*QKV, *MLP]}),
    ("qwen2_moe", {"target_modules": "all-linear"}),
    ("mixtral", {"target_modules": ["q_proj", "w1", "w2", "w3"]}),
    ("mixtral", {"target_modules": ["w1"]}),
    ("mixtral", {"target_modules": ["w2", "gate"], "rank_pattern": {"gate": 2}}),
    ("mixtral", {"target_modules": "all-linear", "modules_to_save": ["embed_tokens"]}),
    ("mixtral", {"target_modules": [*QKV, *MLP]}),
    ("gpt_oss", {"target_modules": [*QKV, *MLP]}),
    ("gpt_oss", {"target_modules": "all-linear"}),
    ("gpt_oss", {"target_modules": QKV, "target_parameters": ["mlp.experts.gate_up_proj", "1.mlp.experts.down_proj"]}),
    ("gpt2", {"target_modules": ["c_attn", "c_fc"], "modules_to_save": ["wte"]}),
    ("gpt2", {"target_modules": "all-linear"}),
    ("falcon", {"target_modules": ["query_key_value", "q_proj"]}),
]


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("bases")
    return cache(lambda family: save(family, root / family))


def said(base: Path, lora: dict[str, Any], folder: Path) -> LoraTargets:
    """What the fact says, from the base's folder and a planned adapter_config.json."""
    planned = folder / "planned.json"
    planned.write_text(json.dumps({"peft_type": "LORA", **lora}))
    source = set_up(LocalFolder(base), base, None, str(planned))
    targets: LoraTargets = Resolver(packs.load().facts, {**Options().given(), "source": source})["lora_targets"]
    return targets


@pytest.mark.parametrize(("family", "lora"), COMBINATIONS, ids=str)
def test_headers_say_what_peft_does(family: str, lora: dict[str, Any], bases: Any, tmp_path: Path) -> None:
    really: Trained = train(family, lora)
    targets = said(bases(family), lora, tmp_path)
    assert (targets.refused is None) == (really.error is None), (targets.refused, really.error)
    if really.error is None:
        assert targets.modules == really.modules
        assert targets.parameters == really.parameters
        assert {n for names in targets.saved_hits.values() for n in names} == really.saved
        assert targets.ranks == really.ranks


def test_every_family_is_asked() -> None:
    assert {family for family, _ in COMBINATIONS} == set(CONFIGS)
    assert len(COMBINATIONS) >= 30
