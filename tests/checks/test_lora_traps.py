"""The traps of the adapter rules: healthy set-ups that look like faults, and faults that look healthy."""

from __future__ import annotations

import json
import random
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from support import severities

from modelcheck import packs
from modelcheck.engine import Options, lint_source
from modelcheck.finding import Finding
from modelcheck.selection import select
from modelcheck.sources.local import LocalFolder
from modelcheck.testing import lint_overlay, write_overlay

LORA: dict[str, Any] = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
TIED = {"config.json": {"tie_word_embeddings": True}, "tensors.json": {"lm_head.weight": None}}
SITE = "base_model.model.model.layers.{}.self_attn.q_proj.lora_{}.weight"


def pairs(*, b: str = "normal", rank: int = 4, out: int = 64, layers: int = 2) -> dict[str, Any]:
    """The tensors of an adapter on q_proj."""
    made = {}
    for layer in range(layers):
        made[SITE.format(layer, "A")] = ["F32", [rank, 64], "normal"]
        made[SITE.format(layer, "B")] = ["F32", [out, rank], b]
    return made


def lint(slug: str, adapter: dict[str, Any], options: dict[str, Any] | None = None, **files: Any) -> list[Finding]:
    """The findings of one rule on the healthy tiny model with an adapter beside it."""
    overlay = {f"{name}.json": content for name, content in files.items()} | {"adapter_config.json": LORA | adapter}
    texts = {name: json.dumps(content) for name, content in overlay.items()}
    [report] = lint_overlay(texts, select=[slug], pedantic=True, **(options or {}))
    assert report.internal == []
    return report.findings


HEALTHY: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "another kind of adapter": ("adapter", {"peft_type": "IA3", "target_modules": ["nothing"]}, {}),
    "the enumeration's full name": ("lora-target-misses", {"peft_type": "PeftType.LORA"}, {}),
    "all-linear in capitals": ("lora-target-misses", {"target_modules": "ALL-LINEAR"}, {}),
    "an expression with memory's prefix": (
        "lora-target-misses",
        {"target_modules": r"model\.language_model\.layers\.\d+\.self_attn\.q_proj"},
        {"config.json": {"text_config": {"vocab_size": 320}}},
    ),
    "a tied head in no file": ("lora-modules-to-save-misses", {"modules_to_save": ["lm_head"]}, TIED),
    "both classifiers": (
        "lora-modules-to-save-misses",
        {"modules_to_save": ["classifier", "score"], "task_type": "SEQ_CLS"},
        {},
    ),
    "an untied head": ("lora-tied-embeddings", {"modules_to_save": ["embed_tokens", "lm_head"]}, {}),
    "tied, attention alone": ("lora-tied-embeddings", {}, TIED),
    "tied, all-linear": ("lora-tied-embeddings", {"target_modules": "all-linear"}, TIED),
    "tied, a few rows": ("lora-tied-embeddings", {"trainable_token_indices": [3, 4]}, TIED),
    "a rank for one layer": (
        "lora-tensor-mismatch",
        {"r": 64, "rank_pattern": {r".*\.q_proj": 4}},
        {"adapter_tensors.json": pairs()},
    ),
    "a saved module": (
        "lora-tensor-mismatch",
        {"modules_to_save": ["lm_head"]},
        {"adapter_tensors.json": pairs() | {"base_model.model.lm_head.weight": ["F32", [320, 64], "normal"]}},
    ),
    "one layer was never used": (
        "lora-untrained",
        {},
        {"adapter_tensors.json": pairs() | {SITE.format(0, "B"): ["F32", [64, 4], "zeros"]}},
    ),
    "an embedding starts with A at zero": (
        "lora-untrained",
        {"target_modules": ["embed_tokens"]},
        {
            "adapter_tensors.json": {
                "base_model.model.model.embed_tokens.lora_embedding_A": ["F32", [4, 320], "normal"],
                "base_model.model.model.embed_tokens.lora_embedding_B": ["F32", [64, 4], "normal"],
            }
        },
    ),
    "a rank as large as the layer": ("lora-rank-too-large", {"r": 64}, {}),
    "a name with a size in it": ("lora-base-quantized", {"base_model_name_or_path": "somebody/model-4b-it"}, {}),
    "a base that was never quantised": ("lora-base-quantized", {"base_model_name_or_path": "x/gptqa-7b"}, {}),
    "a start that vLLM knows": ("vllm-lora", {"init_lora_weights": "gaussian"}, {}),
}


@pytest.mark.parametrize(("slug", "config", "files"), HEALTHY.values(), ids=HEALTHY)
def test_is_silent(slug: str, config: dict[str, Any], files: dict[str, Any]) -> None:
    named = {name.removesuffix(".json"): content for name, content in files.items()}
    assert lint(slug, config, {"target": ["vllm==0.33"]}, **named) == []


def test_a_name_that_exists_only_inside_peft_is_information() -> None:
    habit = {"target_modules": ["q_proj", "lora_magnitude_vector"], "modules_to_save": ["lora_magnitude_vector"]}
    assert severities(lint("lora-target-misses", habit)) == ["info"]
    assert severities(lint("lora-modules-to-save-misses", habit)) == ["info"]


def test_one_name_that_fits_makes_the_others_a_warning() -> None:
    several = {"target_modules": ["q_proj", "query_key_value", "out_proj"]}
    [finding] = lint("lora-target-misses", several)
    assert str(finding.severity) == "warning"
    assert "'query_key_value', 'out_proj'" in finding.message
    assert lint("lora-fused-qkv", several) == []
    [finding] = lint("lora-target-misses", {"target_modules": ["o_proj", "Wqkv", "out_proj"]})
    assert "Wqkv" not in finding.message, "the rule lora-fused-qkv"


def test_layers_that_do_not_exist() -> None:
    [finding] = lint("lora-target-misses", {"layers_to_transform": [0, 1, 2, 3]})
    assert "2, 3" in finding.message


def test_names_in_a_model_around_the_language_model_are_unsure() -> None:
    config = {"text_config": {"vocab_size": 320}}
    [finding] = lint("lora-target-misses", {"target_modules": r"visual\..*"}, config=config)
    assert str(finding.confidence) == "low"


@pytest.mark.parametrize(
    ("tensors", "fault"),
    [
        ({SITE.format(0, "A"): ["F32", [4, 64], "normal"]}, "has no lora_B beside it"),
        (pairs(rank=8), "the configuration says rank 4"),
        (pairs(out=96), "the base's is [64, 64]"),
        ({name.replace("q_proj", "q_prj"): t for name, t in pairs().items()}, "the base does not have"),
        ({f"base_model.model.{name}": t for name, t in pairs().items()}, "twice"),
        ({name.replace(".weight", ".default.weight"): t for name, t in pairs().items()}, "the adapter's name"),
        (pairs() | {"base_model.model.lm_head.weight": ["F32", [326, 64], "zeros"]}, "the base's is [320, 64]"),
        (pairs(layers=1), "for which the adapter has no tensors"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_tensors_that_do_not_fit(tensors: dict[str, Any], fault: str) -> None:
    assert any(fault in f.message for f in lint("lora-tensor-mismatch", {}, adapter_tensors=tensors))


def test_untrained_beside_saved_modules_is_a_warning() -> None:
    saved = {"base_model.model.lm_head.weight": ["F32", [320, 64], "normal"]}
    assert severities(lint("lora-untrained", {}, adapter_tensors=pairs(b="zeros") | saved)) == ["warning"]


def test_the_rank_rule_looks_at_how_many_layers_are_too_small() -> None:
    wide = {"target_modules": ["q_proj", "o_proj", "gate_proj", "k_proj"], "r": 48}
    assert severities(lint("lora-rank-too-large", wide)) == ["info"]
    assert severities(lint("lora-rank-too-large", wide | {"target_modules": ["q_proj", "k_proj"]})) == ["warning"]
    assert severities(lint("lora-rank-too-large", wide | {"target_modules": ["k_proj"]})) == ["error"]


EXPERTS = {
    f"model.layers.{i}.mlp.experts.{e}.up_proj.weight": ["BF16", [8, 64], "normal"] for i in (0, 1) for e in (0, 1)
}


def test_experts_stored_one_by_one_are_linear_layers_for_older_transformers() -> None:
    config = {"target_modules": ["q_proj", "up_proj"]}
    assert severities(lint("lora-moe-experts-missed", config, tensors=EXPERTS)) == ["error"]
    assert lint("lora-moe-experts-missed", config, {"target": ["transformers<5"]}, tensors=EXPERTS) == []
    assert lint("lora-moe-experts-missed", {}, tensors=EXPERTS) == []


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"bias": "all"}, "bias"),
        ({"modules_to_save": ["embed_tokens"]}, "whole modules"),
        ({"init_lora_weights": "pissa"}, "pissa"),
        ({"target_parameters": ["mlp.experts.down_proj"]}, "experts"),
        ({"trainable_token_indices": [1]}, "without a word"),
        ({"layer_replication": [[0, 2], [0, 2]]}, "layer replication"),
        ({"alora_invocation_tokens": [1]}, "aLoRA"),
        ({"lora_bias": True}, "bias"),
        ({"use_qalora": True}, "QALoRA"),
        ({"r": 1024}, "at most 512"),
        ({"peft_type": "LOHA"}, "the only kind"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_vllm_refuses(config: dict[str, Any], message: str) -> None:
    [finding] = lint("vllm-lora", config, {"target": ["vllm==0.33"]})
    assert str(finding.severity) == "error"
    assert message in finding.message
    assert severities(lint("vllm-lora", config)) == ["info"]


def test_a_rank_above_vllms_default_needs_a_flag() -> None:
    for config, flag in (({"r": 20}, 32), ({"r": 8, "rank_pattern": {"q_proj": 200}}, 256)):
        [finding] = lint("vllm-lora", config, {"target": ["vllm"]})
        assert str(finding.severity) == "warning"
        assert f"--max-lora-rank {flag}" in finding.message


@pytest.mark.parametrize(
    "config",
    [
        {"target_modules": [1]},
        {"target_modules": {}},
        {"target_modules": "(q_proj"},
        {"target_modules": r"(\w+\.?)*!"},
        {"exclude_modules": "*"},
        {"rank_pattern": {"q_proj": "8"}},
        {"rank_pattern": [8]},
        {"r": 0},
        {"r": True},
        {"r": 1 << 80},
        {"modules_to_save": 3},
        {"modules_to_save": ["[", "("]},
        {"layers_to_transform": ["0"]},
        {"peft_type": []},
        {"base_model_name_or_path": 7},
    ],
    ids=str,
)
def test_nonsense_is_a_malformed_file(config: dict[str, Any]) -> None:
    assert "malformed-file" in {f.slug for f in lint("adapter", config)}


@pytest.mark.parametrize("base", ["", "\0", "/" * 5000, "a" * 5000, "..", "/dev/null", "~"])
def test_a_base_that_is_no_folder(base: str) -> None:
    [report] = lint_overlay(
        {
            "adapter_config.json": json.dumps(LORA | {"base_model_name_or_path": base}),
            "config.json": "null",
            "model.safetensors": "null",
        }
    )
    assert report.internal == []
    assert any("--base DIR" in s.reason for s in report.skipped)


ODD: list[Any] = [
    *(None, True, -1, 0, 8, 1 << 70, 1.5, "", "q_proj", "all-linear", ".*", "(", "x" * 2000, "\n"),
    *([], ["q_proj"], ["a.b.c.d"], [1], [None], [["a"]], ["..", ".", "[a"], {}, {"q_proj": 4}, {"(": 4}, {"": 1}),
]
FIELDS = (
    *("r", "peft_type", "target_modules", "target_parameters", "exclude_modules", "modules_to_save", "rank_pattern"),
    *("layers_to_transform", "layers_pattern", "bias", "init_lora_weights", "base_model_name_or_path", "task_type"),
)


def test_values_of_every_wrong_kind() -> None:
    draw = random.Random(5)
    readable = 0
    with TemporaryDirectory() as name:
        folder = write_overlay(Path(name), {"adapter_tensors.json": json.dumps(pairs())})
        checks = select(packs.load().checks, ["adapter", "vllm-lora", "malformed-file"], [], [])
        for _ in range(300):
            config = LORA | {draw.choice(FIELDS): draw.choice(ODD) for _ in range(draw.randint(1, 3))}
            (folder / "adapter_config.json").write_text(json.dumps(config))
            report = lint_source("fuzz", LocalFolder(folder), checks, Options(target=["vllm"]).given(), pedantic=True)
            assert report.internal == [], config
            readable += all(f.slug != "malformed-file" for f in report.findings)
    assert readable >= 90
