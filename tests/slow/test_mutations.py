"""A healthy checkpoint around a real tokenizer; each fault planted once, found under its name, and nothing else found.

The tokenizer and template are Qwen3's, the weights a tiny random Qwen3 that transformers made and saved.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen3Config, Qwen3ForCausalLM

import modelcheck
from modelcheck import Severity
from modelcheck.testing import merge_patch

pytestmark = pytest.mark.slow

EMBEDDING = "model.embed_tokens.weight"
IM_START, IM_END, ENDOFTEXT = 151644, 151645, 151643


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory, cached: Callable[[str], Path]) -> Path:
    folder = tmp_path_factory.mktemp("healthy")
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=151936, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, max_position_embeddings=4096, tie_word_embeddings=False,
        bos_token_id=None, eos_token_id=IM_END, pad_token_id=ENDOFTEXT,
    )  # fmt: skip
    model: Any = Qwen3ForCausalLM(config)
    with torch.no_grad():  # torch zeroes the row of the padding index; a trained model's is alive
        model.model.embed_tokens.weight[ENDOFTEXT].normal_(0, 0.02)
    model = model.to(torch.bfloat16)
    model.generation_config.eos_token_id = [IM_END, ENDOFTEXT]
    model.generation_config.pad_token_id = ENDOFTEXT
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(cached("tokenizers/qwen3") / name, folder)
    return folder


def patch(name: str, **changes: Any) -> Callable[[Path], None]:
    """Merge-patch a JSON file."""

    def change(folder: Path) -> None:
        path = folder / f"{name}.json"
        path.write_text(json.dumps(merge_patch(json.loads(path.read_text()), changes)))

    return change


def template(replaced: str, by: str) -> Callable[[Path], None]:
    """Change the chat template's text."""

    def change(folder: Path) -> None:
        path = folder / "tokenizer_config.json"
        config = json.loads(path.read_text())
        assert replaced in config["chat_template"]
        path.write_text(json.dumps({**config, "chat_template": config["chat_template"].replace(replaced, by)}))

    return change


def weights(edit: Callable[[dict[str, torch.Tensor]], None]) -> Callable[[Path], None]:
    """Change the tensors."""

    def change(folder: Path) -> None:
        tensors = {name: tensor.clone() for name, tensor in load_file(folder / "model.safetensors").items()}
        edit(tensors)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return change


def row(number: int, value: float) -> Callable[[dict[str, torch.Tensor]], None]:
    def edit(tensors: dict[str, torch.Tensor]) -> None:
        tensors[EMBEDDING][number] = value

    return edit


def twin(tensors: dict[str, torch.Tensor]) -> None:
    tensors[EMBEDDING][100] = tensors[EMBEDDING][200]


def without(name: str) -> Callable[[dict[str, torch.Tensor]], None]:
    def edit(tensors: dict[str, torch.Tensor]) -> None:
        del tensors[name]

    return edit


def wrapped(tensors: dict[str, torch.Tensor]) -> None:
    for name in list(tensors):
        tensors[f"base_model.model.{name}"] = tensors.pop(name)


def not_a_number(tensors: dict[str, torch.Tensor]) -> None:
    tensors["model.norm.weight"][0] = float("nan")


def second_template(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}")


def indexed(shard: str) -> Callable[[Path], None]:
    """Name a shard in an index, in the place of the single file."""

    def change(folder: Path) -> None:
        weight_map = dict.fromkeys(load_file(folder / "model.safetensors"), shard)
        (folder / "model.safetensors").unlink()
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))

    return change


def cut_short(folder: Path) -> None:
    (folder / "generation_config.json").write_text("{")


ADDS_IM_START = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
    "special_tokens": {"<|im_start|>": {"id": "<|im_start|>", "ids": [IM_START], "tokens": ["<|im_start|>"]}},
}
MUTATIONS: dict[str, Callable[[Path], None]] = {
    "pad-is-eos": patch("tokenizer_config", pad_token="<|im_end|>"),
    "special-token-unknown": patch("tokenizer_config", unk_token="<|foreign|>"),
    "double-bos": patch("tokenizer", post_processor=ADDS_IM_START),
    "template-broken": template("{%- if tools %}", "{%- if tools %"),
    "template-resource-bomb": template("{%- if tools %}", "{{ 9**(9**9) }}{%- if tools %}"),
    "template-date": template("{%- if tools %}", "{{ strftime_now('%d %b %Y') }}{%- if tools %}"),
    "template-date-frozen": template("{%- if tools %}", "Today is 2024-07-26. {%- if tools %}"),
    "terminator-not-eos": template("<|im_end|>", "<|fim_suffix|>"),
    "eos-disagrees": patch("generation_config", eos_token_id=[ENDOFTEXT]),
    "vocab-size-rows": patch("config", vocab_size=151669),
    "untrained-rows": weights(twin),
    "untrained-token-used": weights(row(IM_START, 0.0)),
    "malformed-file": cut_short,
    "pad-out-of-range": patch("generation_config", pad_token_id=151940),
    "two-template-sources": second_template,
    "unknown-literal": template("<|im_start|>", "<|start|>"),
    "use-cache-false": patch("generation_config", use_cache=False),
    "rope-type-conflict": patch("config", rope_parameters={"type": "linear", "rope_type": "yarn", "factor": 2.0}),
    "tied-but-two-heads": patch("config", tie_word_embeddings=True),
    "head-missing": weights(without("lm_head.weight")),
    "missing-tensor": weights(without("model.layers.1.mlp.up_proj.weight")),
    "wrapper-prefix": weights(wrapped),
    "quantization-config-left": patch("config", quantization_config={"quant_method": "gptq", "bits": 4}),
    "non-finite-weights": weights(not_a_number),
    "shard-missing": indexed("model-00001-of-00002.safetensors"),
    "index-escapes-folder": indexed("../elsewhere/model.safetensors"),
    "vllm-architecture": patch("config", architectures=["PeftModelForCausalLM"]),
}
# Findings that the same fault rightly has under another name too.
ALSO = {
    "untrained-token-used": {"untrained-rows"},
    "eos-disagrees": {"terminator-not-eos"},
    "terminator-not-eos": {"generation-prompt-ignored"},
}


@pytest.fixture
def copy(healthy: Path, tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "mutant"
    shutil.copytree(healthy, folder)
    yield folder
    shutil.rmtree(folder)


def test_the_checkpoint_is_healthy(healthy: Path) -> None:
    [report] = modelcheck.lint(healthy)
    assert report.findings == []
    assert report.internal == []


@pytest.mark.parametrize("slug", MUTATIONS)
def test_a_fault_is_found_under_its_name_and_nothing_else_is(slug: str, copy: Path) -> None:
    MUTATIONS[slug](copy)
    [report] = modelcheck.lint(copy)
    assert report.internal == []
    assert slug in {f.slug for f in report.findings}
    worse = {f.slug for f in report.findings if f.severity > Severity.INFO}
    assert worse <= {slug} | ALSO.get(slug, set())
