"""A checkpoint is linted together with what belongs to it: an adapter's base, a planned adapter, another template."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from gguf_files import write
from peft import LoraConfig, get_peft_model
from transformers import LlamaForCausalLM

import modelcheck
from modelcheck import tiny
from modelcheck.checks.adapter import lora_fused_qkv, lora_target_misses
from modelcheck.cli import cli
from modelcheck.finding import Finding
from modelcheck.testing import write_overlay

# A base model that never saw the tokens of a chat.
BASE = {
    "tensors.json": '{"model.embed_tokens.weight": {"2": "zeros", "3": "zeros"}}',
    "tokenizer_config.json": '{"chat_template": null, "eos_token": "<|reserved_0|>"}',
    "config.json": '{"eos_token_id": 4}',
    "generation_config.json": '{"eos_token_id": [4]}',
}
FUSED: dict[str, Any] = {"target_modules": ["qkv_proj", "o_proj"]}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_overlay(tmp_path_factory.mktemp("setups") / "base", BASE)


@pytest.fixture
def template(tmp_path: Path) -> Path:
    path = tmp_path / "chatml.jinja"
    path.write_text(tiny.TEMPLATE)
    return path


def adapter(folder: Path, base: str | None, **config: Any) -> Path:
    """An adapter's folder with a configuration and nothing else."""
    folder.mkdir(exist_ok=True)
    content = {"peft_type": "LORA", "r": 4, "target_modules": ["q_proj"], "base_model_name_or_path": base, **config}
    (folder / "adapter_config.json").write_text(json.dumps(content))
    return folder


def found(slug: str, *targets: Any, **options: Any) -> list[Finding]:
    [report] = modelcheck.lint(*targets, **options)
    assert report.internal == []
    return [f for f in report.findings if f.slug == slug]


def skipped(*targets: Any, **options: Any) -> dict[str, str]:
    [report] = modelcheck.lint(*targets, **options)
    return {s.slug: s.reason for s in report.skipped}


def test_a_base_with_the_template_of_an_instruct_model(base: Path, template: Path) -> None:
    assert found("untrained-token-used", base) == []
    faults = found("untrained-token-used", base, chat_template=template)
    assert {str(f.severity) for f in faults} == {"error"}
    assert {f.message.partition(" ")[0] for f in faults} == {"'<|im_start|>'", "'<|im_end|>'"}
    assert str(template) in faults[0].message


def test_the_template_counts_for_every_runtime(base: Path, template: Path) -> None:
    for runtime in ("transformers", "ollama", "llama.cpp"):
        assert found("untrained-token-used", base, chat_template=template, target=[runtime])


def test_a_finding_in_the_template_names_its_file(base: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.jinja").write_text("{% for %}")
    [finding] = found("template-broken", base, chat_template=tmp_path / "broken.jinja")
    assert finding.file == str(tmp_path / "broken.jinja")


def test_an_adapter_that_carries_a_new_template(base: Path, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "adapter", None)
    (folder / "chat_template.jinja").write_text(tiny.TEMPLATE)
    [finding, *_] = found("untrained-token-used", folder, base=base)
    assert finding.file == str(base / "model.safetensors")
    assert "could not" not in skipped(folder, base=base).get("untrained-token-used", "")


def test_an_adapter_brings_its_own_tokenizer(base: Path, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "adapter", str(base))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(base / name, folder)
    (folder / "tokenizer_config.json").write_text('{"eos_token": "<|im_end|>", "pad_token": "<|im_end|>"}')
    assert found("pad-is-eos", folder)
    assert found("pad-is-eos", base) == []


@pytest.mark.parametrize("form", ["absolute", "beside the adapter", "from the working folder"])
def test_the_base_is_found_by_its_path(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "elsewhere" if form == "from the working folder" else tmp_path / "adapter"
    base = write_overlay(place / "base" if form != "absolute" else tmp_path / "base", {})
    monkeypatch.chdir(place if form == "from the working folder" else tmp_path)
    folder = adapter(tmp_path / "adapter", str(base) if form == "absolute" else "base", **FUSED)
    assert found("lora-fused-qkv", folder)
    assert lora_fused_qkv(folder)


def test_without_the_base_nothing_looks_fine(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "adapter", "somebody/some-model", **FUSED)
    reasons = skipped(folder)
    for slug in ("lora-fused-qkv", "lora-target-misses", "lora-tied-embeddings", "untrained-token-used"):
        assert "--base DIR" in reasons[slug]
    assert "adapter_model.safetensors" in reasons["lora-untrained"]
    with pytest.raises(modelcheck.UsageError, match="--base DIR"):
        lora_target_misses(folder)


def test_a_planned_adapter_on_a_model(base: Path, tmp_path: Path) -> None:
    plan = adapter(tmp_path / "plan", "something/else", **FUSED) / "adapter_config.json"
    [finding] = found("lora-fused-qkv", base, lora=plan)
    assert finding.file == str(plan)
    assert "lora-untrained" not in skipped(base, lora=plan)
    assert found("lora-fused-qkv", base) == []
    plan.write_text("{")
    [broken] = found("malformed-file", base, lora=plan)
    assert broken.file == str(plan)


def test_a_planned_adapter_on_a_model_without_its_weights(tmp_path: Path) -> None:
    folder = write_overlay(tmp_path / "config-only", {"model.safetensors": "null"})
    plan = adapter(tmp_path / "plan", None, **FUSED) / "adapter_config.json"
    assert "no weights" in skipped(folder, lora=plan)["lora-fused-qkv"]


def test_a_plan_replaces_the_adapter_that_is_there(tmp_path: Path) -> None:
    base = write_overlay(tmp_path / "base", {})
    folder = adapter(tmp_path / "adapter", str(base))
    (folder / "adapter_model.safetensors").write_bytes(b"")
    plan = adapter(tmp_path / "plan", str(base), **FUSED) / "adapter_config.json"
    assert found("malformed-file", folder)
    assert found("malformed-file", folder, lora=plan) == []
    assert found("lora-fused-qkv", folder, lora=plan)


def test_a_copy_of_the_config_beside_an_adapter_makes_no_model(base: Path, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "adapter", None, **FUSED)
    shutil.copy(base / "config.json", folder)
    assert "--base DIR" in skipped(folder)["lora-fused-qkv"]
    assert found("lora-fused-qkv", folder, base=base)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_live_objects(base: Path, tmp_path: Path) -> None:
    model = LlamaForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    plan: Any = LoraConfig(**FUSED)
    assert found("lora-fused-qkv", model=model, peft_config=plan)
    assert lora_fused_qkv(model=model, peft_config=plan)
    assert lora_fused_qkv(model=model, peft_config=LoraConfig(target_modules=["q_proj"])) == []
    assert found("lora-fused-qkv", peft_config=plan, base=base)
    healthy = LoraConfig(target_modules=["q_proj", "v_proj"], modules_to_save=["embed_tokens"])
    for candidate in (model, get_peft_model(model, healthy)):
        [report] = modelcheck.lint(model=candidate, peft_config=healthy, select=["adapter"])
        assert (report.findings, report.skipped, report.internal) == ([], [], [])
    with pytest.raises(TypeError, match="pass model="):
        lora_fused_qkv(peft_config=plan)


def test_the_command_line(base: Path, template: Path, tmp_path: Path) -> None:
    plan = adapter(tmp_path / "plan", None, **FUSED) / "adapter_config.json"
    run = CliRunner().invoke
    arguments = ["lint", str(base), "--lora", str(plan), "--chat-template", str(template)]
    result = run(cli, arguments)
    assert result.exit_code == 1
    assert "ADP002 lora-fused-qkv" in result.output
    assert "WGT002 untrained-token-used" in result.output
    result = run(cli, ["lint", str(plan.parent), "--base", str(base)])
    assert "ADP002 lora-fused-qkv" in result.output


@pytest.mark.parametrize("option", ["base", "chat_template", "lora"])
def test_what_cannot_be_read_is_refused(option: str, base: Path, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "adapter", None) if option == "base" else base
    wrong: Any = {option: tmp_path / "nowhere"}
    if option == "chat_template":
        with pytest.raises(modelcheck.UsageError, match="--chat-template"):
            modelcheck.lint(folder, **wrong)
        return
    [report] = modelcheck.lint(folder, **wrong)
    assert "nowhere" in (report.error or "")


def test_a_base_that_is_no_model(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "adapter", None)
    [report] = modelcheck.lint(folder, base=folder)
    assert "holds no config.json" in (report.error or "")


def test_an_adapter_on_an_adapter_says_so(base: Path, tmp_path: Path) -> None:
    below = adapter(tmp_path / "below", str(base))
    reasons = skipped(adapter(tmp_path / "above", str(below)))
    assert "is an adapter itself (--base DIR, or a hub id)" in reasons["lora-target-misses"]


def test_a_gguf_is_no_base(base: Path, tmp_path: Path) -> None:
    """It has other names for its tensors, and not all settings: what differs from it is no fault."""
    packed = write(tmp_path / "base.gguf")
    [report] = modelcheck.lint(base, base=packed)
    assert f"--base {packed}: a GGUF has other names and settings" in (report.error or "")
