"""The fixers of adapters: new names for a new run, and fused layers split so that the usual names fit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import peft_bases
import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora.layer import LoraLayer
from support import contents, proposed, written
from transformers import AutoModelForCausalLM, AutoTokenizer, Phi3Config, Phi3ForCausalLM

from modelcheck import tiny
from modelcheck.mending.proposal import Proposal
from modelcheck.testing import write_overlay

SEVEN = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
FUSED = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
SIZE: dict[str, Any] = {
    "vocab_size": tiny.VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": None,
    "eos_token_id": 3,
    "pad_token_id": 0,
}
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


def phi3(folder: Path, *, shard: str = "5GB", patch: Mapping[str, Any] | None = None, **options: Any) -> Path:
    """A tiny Phi-3 in float32, as transformers saves it, with a tokenizer; `patch` is set in its config.json."""
    torch.manual_seed(0)
    Phi3ForCausalLM(Phi3Config(**SIZE | options)).save_pretrained(folder, max_shard_size=shard)
    for name in TOKENIZER:
        (folder / name).write_bytes(tiny.files()[name])
    if patch is not None:
        config = json.loads((folder / "config.json").read_text())
        merged = {key: value for key, value in (config | dict(patch)).items() if value != "absent"}
        (folder / "config.json").write_text(json.dumps(merged, indent=2))
    return folder


def lora_file(folder: Path, targets: Any = SEVEN, **options: Any) -> Path:
    """An adapter_config.json."""
    folder.mkdir(exist_ok=True)
    content = {"peft_type": "LORA", "r": 4, "target_modules": targets, **options}
    (folder / "adapter_config.json").write_text(json.dumps(content, indent=2))
    return folder / "adapter_config.json"


def split(folder: Path, tmp_path: Path) -> Proposal:
    lora = str(lora_file(tmp_path / "lora"))
    return proposed(folder, lora=lora, select=["adapter", "weights", "config"], unsafe=True, options=["split-fused"])


def reasons(proposal: Proposal) -> list[str]:
    return [left.reason for left in proposal.plan.left_out if left.finding.slug == "lora-fused-qkv"]


def logits(folder: Path) -> Any:
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = torch.randint(0, SIZE["vocab_size"], (3, 40), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model.eval()(ids).logits


class TestSplit:
    @pytest.mark.parametrize(
        ("shard", "options", "patch", "kind"),
        [
            ("5GB", {}, None, "llama"),
            ("100KB", {}, None, "llama"),
            ("5GB", {"sliding_window": 16}, None, "mistral"),
            # As older releases save it: what is not said has the defaults of Phi-3, which are not those of Llama.
            (
                "5GB",
                {"rope_parameters": {"rope_type": "default", "rope_theta": 250000.0}, "num_key_value_heads": 4},
                {
                    "rope_parameters": "absent",
                    "rope_theta": 250000.0,
                    "rope_scaling": None,
                    "rms_norm_eps": "absent",
                    "num_key_value_heads": "absent",
                    "attention_bias": True,
                    "auto_map": {"AutoModelForCausalLM": "modeling_phi3.Phi3ForCausalLM"},
                },
                "llama",
            ),
        ],
        ids=["one file", "shards", "sliding window", "older config"],
    )
    def test_the_logits_are_equal_to_the_last_bit(
        self, tmp_path: Path, shard: str, options: dict[str, Any], patch: dict[str, Any] | None, kind: str
    ) -> None:
        folder = phi3(tmp_path / "model", shard=shard, patch=patch, **options)
        proposal = split(folder, tmp_path)
        assert proposal.faults == []
        assert "lora-fused-qkv" not in {f.slug for f in proposal.after.findings}
        new = written(proposal, tmp_path / "split")
        config = json.loads((new / "config.json").read_text())
        assert (config["model_type"], config["architectures"]) == (kind, [f"{kind.title()}ForCausalLM"])
        assert "auto_map" not in config
        before, after = logits(folder), logits(new)
        assert torch.equal(before, after)
        changed = {n for n, content in contents(new).items() if content != contents(folder).get(n)}
        assert changed.isdisjoint({*TOKENIZER, "generation_config.json"})
        if shard != "5GB":
            assert len([n for n in changed if n.endswith(".safetensors")]) > 1

    @pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
    def test_lora_then_reaches_every_projection(self, tmp_path: Path) -> None:
        new = written(split(phi3(tmp_path / "model"), tmp_path), tmp_path / "split")
        model = AutoModelForCausalLM.from_pretrained(new, dtype=torch.float32)
        wrapped: Any = get_peft_model(model, LoraConfig(target_modules=SEVEN, r=4))
        layers = {n.rpartition(".")[2] for n, m in wrapped.named_modules() if isinstance(m, LoraLayer)}
        assert layers == set(SEVEN)
        ids = AutoTokenizer.from_pretrained(new)("the model reads a text", return_tensors="pt").input_ids
        wrapped(input_ids=ids, labels=ids).loss.backward()
        gradients = [p.grad for n, p in wrapped.named_parameters() if "q_proj.lora_B" in n]
        assert gradients
        assert all(g is not None and g.abs().sum() > 0 for g in gradients)
        assert wrapped.generate(input_ids=ids, max_new_tokens=4, do_sample=False).shape[1] > ids.shape[1]

    @pytest.mark.parametrize(
        ("options", "patch", "reason"),
        [
            (
                {
                    "rope_parameters": {
                        "rope_type": "longrope",
                        "rope_theta": 1e4,
                        "short_factor": [1.0] * 8,
                        "long_factor": [2.0] * 8,
                    }
                },
                None,
                "'longrope', for which Phi3ForCausalLM has code of its own",
            ),
            (
                {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.75}},
                None,
                "rotates 0.75 of each",
            ),
            ({}, {"partial_rotary_factor": 0.5, "rope_parameters": None}, "rotates 0.5 of each head"),
            ({"resid_pdrop": 0.1}, None, "resid_pdrop is 0.1"),
            ({}, {"model_type": "phi3small", "architectures": ["Phi3SmallForCausalLM"]}, "only how phi3 does"),
            ({}, {"num_key_value_heads": 4}, "has 128 rows, its parts have 192"),
            ({}, {"num_attention_heads": "four"}, "does not say how many rows"),
        ],
        ids=["long factors", "partial rotation", "partial, as of old", "dropout", "phi3small", "heads", "no number"],
    )
    def test_no_class_computes_the_same(
        self, tmp_path: Path, options: dict[str, Any], patch: dict[str, Any] | None, reason: str
    ) -> None:
        proposal = split(phi3(tmp_path / "model", patch=patch, **options), tmp_path)
        assert "lora-fused-qkv" not in {fix.finding.slug for fix in proposal.plan.fixes}
        assert reason in " ".join(reasons(proposal))

    def test_a_shard_that_is_not_here_is_fetched_first(self, tmp_path: Path) -> None:
        folder = phi3(tmp_path / "model", shard="100KB")
        next(folder.glob("*-00002-of-*.safetensors")).unlink()
        proposal = split(folder, tmp_path)
        assert proposal.plan.changes == []
        assert any("fetch it first" in reason for reason in reasons(proposal))

    def test_without_the_option_it_is_offered_and_not_done(self, tmp_path: Path) -> None:
        lora = lora_file(tmp_path / "lora")
        proposal = proposed(phi3(tmp_path / "model"), lora=str(lora), select=["lora-fused-qkv"], unsafe=True)
        assert proposal.plan.changes == []
        [reason] = reasons(proposal)
        assert f'{lora} is not part of this folder: set its target_modules to ["qkv_proj", "o_proj"' in reason
        assert f"`modelcheck fix {lora.parent} --base DIR --unsafe`" in reason
        assert "--split-fused" in reason


class TestNames:
    def mended(self, tmp_path: Path, base: Path, targets: Any, **options: Any) -> Proposal:
        lora_file(tmp_path / "adapter", targets, **options)
        return proposed(tmp_path / "adapter", base=str(base), select=["lora-fused-qkv"], unsafe=True)

    def targets(self, proposal: Proposal, tmp_path: Path) -> list[str]:
        new = written(proposal, tmp_path / "mended")
        return list(json.loads((new / "adapter_config.json").read_text())["target_modules"])

    def test_split_names_become_fused_ones_in_their_order(self, tmp_path: Path) -> None:
        proposal = self.mended(tmp_path, peft_bases.save("phi3", tmp_path / "base"), SEVEN)
        assert proposal.faults == []
        assert self.targets(proposal, tmp_path) == FUSED
        assert peft_bases.train("phi3", {"target_modules": FUSED, "r": 4}).modules

    def test_fused_names_become_split_ones(self, tmp_path: Path) -> None:
        base = write_overlay(tmp_path / "base", {})
        proposal = self.mended(tmp_path, base, ["down_proj", "self_attn.qkv_proj"])
        expected = ["down_proj", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]
        assert self.targets(proposal, tmp_path) == expected

    def test_the_rest_of_the_file_keeps_its_bytes(self, tmp_path: Path) -> None:
        base = write_overlay(tmp_path / "base", {})
        file = lora_file(tmp_path / "adapter")
        text = '{"r": 4, "peft_type":"LORA",\n  "target_modules": ["qkv_proj", "o_proj"],\n "lora_alpha": 1.50}'
        file.write_text(text)
        proposal = proposed(tmp_path / "adapter", base=str(base), select=["lora-fused-qkv"], unsafe=True)
        new = (written(proposal, tmp_path / "mended") / file.name).read_text()
        assert new == text.replace('["qkv_proj", "o_proj"]', '["q_proj", "k_proj", "v_proj", "o_proj"]')

    def test_a_trained_adapter_keeps_its_names(self, tmp_path: Path) -> None:
        adapter = tmp_path / "adapter"
        peft_bases.train("phi3", {"target_modules": FUSED, "r": 4}, adapter)
        proposal = proposed(
            adapter, base=str(write_overlay(tmp_path / "base", {})), select=["lora-fused-qkv"], unsafe=True
        )
        assert proposal.plan.changes == []
        assert "the adapter is trained" in " ".join(reasons(proposal))

    @pytest.mark.parametrize(
        ("targets", "options", "reason"),
        [
            (r".*\.(q_proj|o_proj)", {}, "is a regular expression"),
            (SEVEN, {"rank_pattern": {r".*\.q_proj": 8}}, "rank_pattern has settings for"),
        ],
    )
    def test_what_has_to_be_decided_by_hand(
        self, tmp_path: Path, targets: Any, options: dict[str, Any], reason: str
    ) -> None:
        proposal = self.mended(tmp_path, peft_bases.save("phi3", tmp_path / "base"), targets, **options)
        assert proposal.plan.changes == []
        assert reason in " ".join(reasons(proposal))

    def test_the_layers_of_a_base_in_another_folder_are_left_alone(self, tmp_path: Path) -> None:
        base = phi3(tmp_path / "base")
        adapter = lora_file(tmp_path / "adapter").parent
        proposal = proposed(adapter, base=str(base), select=["lora-fused-qkv"], unsafe=True, options=["split-fused"])
        assert proposal.plan.changes == []
        [reason] = reasons(proposal)
        assert reason == (
            f"it would change {base / 'config.json'}, which lies in another folder: run `modelcheck fix` there"
        )
