"""What the facts say from headers about a LoRA configuration is what PEFT really does with it."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from peft import PeftModel
from peft_bases import CONFIGS, FURTHER, Trained, model, save, train

import modelcheck
from modelcheck import Severity, packs, tiny
from modelcheck.engine import Options
from modelcheck.facts.lora_shapes import plain
from modelcheck.facts.lora_targets import LoraTargets
from modelcheck.resolver import Resolver
from modelcheck.sources.local import LocalFolder
from modelcheck.sources.setup import set_up

QKV, MLP = ["q_proj", "k_proj", "v_proj"], ["gate_proj", "up_proj", "down_proj"]
TWO_PATTERNS = {"target_modules": QKV, "rank_pattern": {"q_proj": 2, r".*\.0\.self_attn\.(q|k)_proj": 16}}
# The rules that must speak, at warning or above.
MISSES, FUSED, SAVED = "lora-target-misses", "lora-fused-qkv", "lora-modules-to-save-misses"
EXPERTS, TIED = "lora-moe-experts-missed", "lora-tied-embeddings"
NONE: set[str] = set()
EXPERT_SIDES = {"w1": (48, 32), "w2": (32, 48), "w3": (48, 32)}
COMBINATIONS: list[tuple[str, dict[str, Any], set[str]]] = [
    ("llama", {"target_modules": QKV}, NONE),
    ("llama", {"target_modules": [*QKV, *MLP, "o_proj", "lm_head", "embed_tokens"]}, NONE),
    ("llama", {"target_modules": ["q_proj", "qkv_proj", "lora_magnitude_vector"]}, {MISSES}),
    ("llama", {"target_modules": ["o_proj", "qkv_proj"]}, {FUSED}),
    ("llama", {"target_modules": ["qkv_proj"]}, {FUSED}),
    ("llama", {"target_modules": "all-linear"}, NONE),
    ("llama", {"target_modules": r".*layers\.0\.(self_attn|mlp)\.(q|up)_proj"}, NONE),
    ("llama", {"target_modules": "q_proj"}, {MISSES}),
    ("llama", {"target_modules": ["self_attn"]}, {MISSES}),
    ("llama", {"target_modules": ["input_layernorm"]}, {MISSES}),
    ("llama", {"target_modules": ["proj"]}, {MISSES}),
    ("llama", {"target_modules": ["layers.1.mlp.up_proj", "0.self_attn.q_proj"]}, NONE),
    ("llama", {"target_modules": QKV, "exclude_modules": ["layers.0.self_attn.q_proj"]}, NONE),
    ("llama", {"target_modules": QKV, "exclude_modules": r".*\.(q|k)_proj"}, NONE),
    ("llama", {"target_modules": QKV, "layers_to_transform": [1]}, NONE),
    ("llama", {"target_modules": QKV, "layers_to_transform": 0, "layers_pattern": "layers"}, NONE),
    ("llama", {"target_modules": QKV, "layers_to_transform": [7]}, {MISSES}),
    ("llama", {"target_modules": QKV, "modules_to_save": ["embed_tokens", "lm_head"]}, NONE),
    ("llama", {"target_modules": QKV, "modules_to_save": ["wte", "norm"]}, {SAVED}),
    ("llama", {"target_modules": ["lm_head"], "modules_to_save": ["lm_head"]}, {MISSES}),
    ("llama", TWO_PATTERNS, NONE),
    ("llama", {"target_modules": QKV, "rank_pattern": {"layers.0.self_attn.k_proj": 2, "o_proj": 3}}, {MISSES}),
    ("llama", {"target_modules": [], "target_parameters": ["mlp.up_proj.weight"]}, NONE),
    ("llama", {"target_modules": "dummy"}, {MISSES}),
    ("phi3", {"target_modules": QKV}, {FUSED}),
    ("phi3", {"target_modules": [*QKV, *MLP, "o_proj"]}, {FUSED}),
    ("phi3", {"target_modules": ["qkv_proj", "gate_up_proj"], "rank_pattern": {"qkv_proj": 12}}, NONE),
    ("phi3", {"target_modules": "all-linear"}, NONE),
    ("phi3", {"target_modules": ["o_proj"], "modules_to_save": ["embed_tokens", "score"]}, {SAVED}),
    ("gemma", {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}, {TIED}),
    ("gemma", {"target_modules": ["q_proj", "lm_head"]}, {TIED}),
    ("gemma", {"target_modules": "all-linear"}, NONE),
    ("gemma", {"target_modules": ["embed_tokens", "fc1"]}, {MISSES, TIED}),
    ("gemma", {"target_modules": [*QKV, *MLP], "modules_to_save": ["embed_tokens"]}, {TIED}),
    ("qwen3_moe", {"target_modules": QKV}, NONE),
    ("qwen3_moe", {"target_modules": [*QKV, *MLP], "r": 4}, {MISSES}),
    ("qwen3_moe", {"target_modules": ["up_proj"]}, {EXPERTS}),
    ("qwen3_moe", {"target_modules": ["down_proj"]}, {MISSES}),
    ("qwen3_moe", {"target_modules": ["q_proj", "gate"]}, NONE),
    ("qwen3_moe", {"target_modules": "all-linear"}, {MISSES}),
    ("qwen3_moe", {"target_modules": r".*\.(q_proj|gate_proj|up_proj)"}, {MISSES}),
    ("qwen3_moe", {"target_modules": r".*\.(q_proj|gate_proj)"}, {EXPERTS}),
    ("qwen3_moe", {"target_modules": ["q_proj"], "target_parameters": ["mlp.experts.down_proj"]}, NONE),
    ("qwen3_moe", {"target_modules": ["q_proj"], "target_parameters": ["experts.up_proj"]}, {MISSES}),
    ("qwen2_moe", {"target_modules": [*QKV, *MLP]}, {EXPERTS}),
    ("qwen2_moe", {"target_modules": "all-linear"}, {EXPERTS}),
    ("mixtral", {"target_modules": ["q_proj", "w1", "w2", "w3"]}, NONE),
    ("mixtral", {"target_modules": ["w1"]}, {EXPERTS}),
    ("mixtral", {"target_modules": ["w2", "gate"], "rank_pattern": {"gate": 2}}, {MISSES}),
    ("mixtral", {"target_modules": "all-linear", "modules_to_save": ["embed_tokens"]}, NONE),
    ("mixtral", {"target_modules": [*QKV, *MLP]}, {EXPERTS}),
    ("gpt_oss", {"target_modules": [*QKV, *MLP]}, {EXPERTS}),
    ("gpt_oss", {"target_modules": "all-linear"}, {EXPERTS}),
    (
        "gpt_oss",
        {"target_modules": QKV, "target_parameters": ["mlp.experts.gate_up_proj", "1.mlp.experts.down_proj"]},
        NONE,
    ),
    ("gpt2", {"target_modules": ["c_attn", "c_fc"], "modules_to_save": ["wte"]}, {TIED}),
    ("gpt2", {"target_modules": "all-linear"}, NONE),
    ("falcon", {"target_modules": ["query_key_value", "q_proj"]}, {MISSES}),
    ("falcon", {"target_modules": ["q_proj", "dense"]}, {FUSED}),
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


def named(value: object) -> str:
    """The same in every process of a parallel run, which the order of a set is not."""
    return " ".join(sorted(value)) or "silent" if isinstance(value, set) else str(value)


@pytest.mark.parametrize(("family", "lora", "slugs"), COMBINATIONS, ids=named)
def test_headers_say_what_peft_does(
    family: str, lora: dict[str, Any], slugs: set[str], bases: Any, tmp_path: Path
) -> None:
    really: Trained = train(family, lora)
    targets = said(bases(family), lora, tmp_path)
    assert (targets.refused is None) == (really.error is None), (targets.refused, really.error)
    if really.error is None:
        assert targets.modules == really.modules
        assert targets.parameters == really.parameters
        assert {n for names in targets.saved_hits.values() for n in names} == really.saved
        assert targets.ranks == really.ranks
    [report] = modelcheck.lint(bases(family), lora=tmp_path / "planned.json", select=["adapter"])
    assert report.internal == []
    assert {f.slug for f in report.findings if f.severity > Severity.INFO} == slugs
    assert really.error is None or any(f.severity is Severity.ERROR for f in report.findings)


# What PEFT saves fits its base, down to every shape.
HEALTHY = [(family, lora) for family, lora, slugs in COMBINATIONS if not slugs and lora != TWO_PATTERNS]


@pytest.mark.parametrize(("family", "lora"), HEALTHY, ids=str)
def test_what_peft_saves_fits_its_base(family: str, lora: dict[str, Any], bases: Any, tmp_path: Path) -> None:
    train(family, lora | {"init_lora_weights": False}, tmp_path)
    [report] = modelcheck.lint(tmp_path, base=bases(family), select=["adapter"])
    assert report.internal == []
    assert [f for f in report.findings if f.severity > Severity.INFO] == []
    assert report.skipped == []


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_patterns_that_peft_sorts_when_it_saves(bases: Any, tmp_path: Path) -> None:
    # The first pattern that fits decides, and the order is lost in the file: PEFT cannot load what it has saved.
    train("llama", TWO_PATTERNS | {"init_lora_weights": False}, tmp_path)
    [report] = modelcheck.lint(tmp_path, base=bases("llama"), select=["adapter"])
    assert [f.slug for f in report.findings] == ["lora-tensor-mismatch"]
    with pytest.raises(RuntimeError, match="size mismatch"):
        PeftModel.from_pretrained(model("llama"), str(tmp_path))


def test_an_adapter_for_experts_of_transformers_4(bases: Any, tmp_path: Path) -> None:
    config = {"peft_type": "LORA", "r": 2, "target_modules": ["w1", "w2", "w3", "gate"]}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    sides = {f"experts.{e}.{name}": side for e in range(4) for name, side in EXPERT_SIDES.items()} | {"gate": (4, 32)}
    tensors: dict[str, Any] = {}
    for layer in (0, 1):
        for name, (out, into) in sides.items():
            module = f"base_model.model.model.layers.{layer}.block_sparse_moe.{name}"
            tensors[f"{module}.lora_A.weight"] = np.ones((2, into), np.float32)
            tensors[f"{module}.lora_B.weight"] = np.ones((out, 2), np.float32)
    (tmp_path / "adapter_model.safetensors").write_bytes(tiny.safetensors(tensors))
    [report] = modelcheck.lint(tmp_path, base=bases("mixtral"), select=["adapter"])
    assert (report.findings, report.skipped, report.internal) == ([], [], [])


def test_an_adapter_that_was_never_trained(bases: Any, tmp_path: Path) -> None:
    train("llama", {"target_modules": QKV}, tmp_path)
    [report] = modelcheck.lint(tmp_path, base=bases("llama"), select=["adapter"])
    assert [f.slug for f in report.findings] == ["lora-untrained"]


LISTS: list[dict[str, Any]] = [
    {"target_modules": [*QKV, *MLP, "o_proj"]},
    {"target_modules": "all-linear"},
    {"target_modules": r".*language_model.*\.(q|v)_proj"},
    {"target_modules": ["q_proj", "query_key_value"], "modules_to_save": ["embed_tokens"]},
]


@pytest.mark.slow
@pytest.mark.parametrize("lora", LISTS, ids=str)
@pytest.mark.parametrize("family", FURTHER)
def test_further_families(family: str, lora: dict[str, Any], bases: Any, tmp_path: Path) -> None:
    lora = lora | {"r": 2, "init_lora_weights": False}
    really = train(family, lora, tmp_path)
    targets = said(bases(family), lora, tmp_path)
    assert (targets.refused is None) == (really.error is None), (targets.refused, really.error)
    if really.error is None:
        # A model around a language model has other prefixes in memory than in its file.
        assert set(map(plain, targets.modules)) == set(map(plain, really.modules))
        assert set(map(plain, targets.parameters)) == set(map(plain, really.parameters))
        [report] = modelcheck.lint(tmp_path, base=bases(family), select=["lora-tensor-mismatch", "lora-untrained"])
        assert (report.findings, report.skipped, report.internal) == ([], [], [])


def test_every_family_is_asked() -> None:
    assert {family for family, *_ in COMBINATIONS} == set(CONFIGS)
    assert len(COMBINATIONS) >= 30
