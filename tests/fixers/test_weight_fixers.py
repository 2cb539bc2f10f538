"""The fixers of tensor names, of the index and of what config.json says about the weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import contents, proposed, written
from transformers import AutoModelForCausalLM

from modelcheck.mending.proposal import Proposal
from modelcheck.names import INDEX, SINGLE
from modelcheck.testing import write_overlay

ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
Tensors = dict[str, torch.Tensor]


def model(folder: Path, overlay: Mapping[str, Any] | None = None) -> Path:
    """The healthy tiny checkpoint under an overlay of objects."""
    return write_overlay(folder, {name: json.dumps(patch) for name, patch in (overlay or {}).items()})


def mended(folder: Path, tmp_path: Path, slug: str, **options: Any) -> Path:
    """The folder after the fixes of one rule, which silence it."""
    proposal = proposed(folder, **{"unsafe": True} | options)
    assert proposal.faults == []
    assert slug in {fix.finding.slug for fix in proposal.plan.fixes}
    assert slug not in {finding.slug for finding in proposal.after.findings}
    return written(proposal, tmp_path / "mended")


def refused(folder: Path, slug: str, **options: Any) -> str:
    """Why the fix of a rule is left out; nothing may change then."""
    proposal = proposed(folder, **{"unsafe": True} | options)
    assert slug not in {fix.finding.slug for fix in proposal.plan.fixes}
    return " ".join(left.reason for left in proposal.plan.left_out if left.finding.slug == slug)


def config(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return found


def logits(folder: Path) -> torch.Tensor:
    loaded: Any = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        made: torch.Tensor = loaded.eval()(torch.arange(24)[None]).logits
    return made


def unsafe_left_out(proposal: Proposal) -> set[str]:
    return {left.finding.slug for left in proposal.plan.left_out if left.unsafe}


class TestVocabSize:
    def test_is_that_of_the_rows(self, tmp_path: Path) -> None:
        folder = model(tmp_path / "model", {"config.json": {"vocab_size": 326}})
        new = mended(folder, tmp_path, "vocab-size-rows", unsafe=False)
        assert config(new)["vocab_size"] == 320
        assert logits(new).shape == (1, 24, 320)

    def test_not_where_the_tokenizer_has_more_tokens(self, tmp_path: Path) -> None:
        folder = model(
            tmp_path / "model",
            {
                "config.json": {"tie_word_embeddings": True},
                "tensors.json": {"lm_head.weight": None, "model.embed_tokens.weight": ["BF16", [300, 64], "normal"]},
            },
        )
        assert "ids up to 319 and model.embed_tokens.weight only 300 rows" in refused(folder, "vocab-size-rows")

    def test_not_where_the_head_has_other_rows(self, tmp_path: Path) -> None:
        folder = model(
            tmp_path / "model", {"tensors.json": {"model.embed_tokens.weight": ["BF16", [384, 64], "normal"]}}
        )
        assert "lm_head.weight has 320 rows and model.embed_tokens.weight 384" in refused(folder, "vocab-size-rows")


class TestHeads:
    tied = {"config.json": {"tie_word_embeddings": True}}

    def test_two_heads_are_untied_and_no_weight_changes(self, tmp_path: Path) -> None:
        folder = model(tmp_path / "model", self.tied)
        assert unsafe_left_out(proposed(folder)) == {"tied-but-two-heads"}
        new = mended(folder, tmp_path, "tied-but-two-heads")
        assert config(new)["tie_word_embeddings"] is False
        assert contents(new)[SINGLE] == contents(folder)[SINGLE]
        assert torch.equal(logits(new), logits(model(tmp_path / "healthy")))

    def test_not_in_a_class_that_no_table_knows(self, tmp_path: Path) -> None:
        patch = {"model_type": "unheard_of", "architectures": ["UnheardOfForCausalLM"], "tie_word_embeddings": True}
        reason = refused(model(tmp_path / "model", {"config.json": patch}), "tied-but-two-heads")
        assert "no table says that a model of type 'unheard_of'" in reason

    def test_not_where_the_stored_one_has_another_shape(self, tmp_path: Path) -> None:
        folder = model(
            tmp_path / "model", self.tied | {"tensors.json": {"lm_head.weight": ["BF16", [384, 64], "normal"]}}
        )
        assert "has another shape than the embedding" in refused(folder, "tied-but-two-heads")

    def test_a_stored_copy_is_no_fault_and_stays(self, tmp_path: Path) -> None:
        folder = model(tmp_path / "model", self.tied)
        tensors = load_file(folder / SINGLE)
        save_file(tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()}, folder / SINGLE)
        assert proposed(folder, unsafe=True).plan.changes == []

    def test_a_head_that_the_family_ties_is_tied(self, tmp_path: Path) -> None:
        smollm3 = {"architectures": ["SmolLM3ForCausalLM"], "model_type": "smollm3", "tie_word_embeddings": False}
        folder = model(tmp_path / "model", {"config.json": smollm3, "tensors.json": {"lm_head.weight": None}})
        new = mended(folder, tmp_path, "head-missing", unsafe=False)
        loaded = AutoModelForCausalLM.from_pretrained(new)
        assert torch.equal(loaded.lm_head.weight, loaded.model.embed_tokens.weight)

    def test_any_other_is_lost(self, tmp_path: Path) -> None:
        folder = model(tmp_path / "model", {"tensors.json": {"lm_head.weight": None}})
        assert "set tie_word_embeddings to true if the base model's config does" in refused(folder, "head-missing")


class TestQuantization:
    def test_what_no_weights_follow_is_dropped(self, tmp_path: Path) -> None:
        folder = model(tmp_path / "model", {"config.json": {"quantization_config": {"quant_method": "fp8"}}})
        new = mended(folder, tmp_path, "quantization-config-left", unsafe=False)
        assert "quantization_config" not in config(new)
        assert torch.isfinite(logits(new)).all()

    def test_bitsandbytes_may_be_wanted(self, tmp_path: Path) -> None:
        asked = {"quant_method": "bitsandbytes", "load_in_4bit": True}
        folder = model(tmp_path / "model", {"config.json": {"quantization_config": asked}})
        proposal = proposed(folder)
        assert proposal.plan.changes == []
        assert unsafe_left_out(proposal) == {"quantization-config-left"}
        assert "quantization_config" not in config(mended(folder, tmp_path, "quantization-config-left"))


class TestPrefixes:
    def prefixed(self, folder: Path, prefix: str, only: str = "") -> Path:
        """The healthy checkpoint, its names behind a prefix, in two shards."""
        tensors = load_file(model(folder) / SINGLE)
        (folder / SINGLE).unlink()
        named = {prefix + name if only in name else name: tensor for name, tensor in tensors.items()}
        names = sorted(named)
        shards = {ONE: names[::2], TWO: names[1::2]}
        for shard, of_shard in shards.items():
            save_file({name: named[name] for name in of_shard}, folder / shard, {"format": "pt"})
        weight_map = {name: shard for shard, of_shard in shards.items() for name in of_shard}
        size = sum(tensor.nbytes for tensor in tensors.values())
        document = {"metadata": {"total_size": size}, "weight_map": weight_map}
        (folder / INDEX).write_text(json.dumps(document, indent=2))
        return folder

    @pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "base_model.model.", "module._orig_mod.", "model."])
    def test_every_name_loses_it_and_the_model_is_the_same(self, tmp_path: Path, prefix: str) -> None:
        folder = self.prefixed(tmp_path / "model", prefix)
        proposal = proposed(folder, unsafe=True)
        assert [c.patches is not None for c in proposal.plan.changes if c.name != INDEX] == [True, True]
        new = mended(folder, tmp_path, "wrapper-prefix")
        assert torch.equal(logits(new), logits(model(tmp_path / "healthy")))
        healthy = load_file(tmp_path / "healthy" / SINGLE)
        assert json.loads((new / INDEX).read_text())["weight_map"].keys() == healthy.keys()

    def test_some_names_have_it(self, tmp_path: Path) -> None:
        new = mended(self.prefixed(tmp_path / "model", "module.", "layers.1"), tmp_path, "wrapper-prefix")
        assert torch.equal(logits(new), logits(model(tmp_path / "healthy")))

    def test_it_is_unsafe(self, tmp_path: Path) -> None:
        assert unsafe_left_out(proposed(self.prefixed(tmp_path / "model", "module."))) == {"wrapper-prefix"}

    def test_an_adapter_inside_has_to_be_merged(self, tmp_path: Path) -> None:
        query = "model.layers.0.self_attn.q_proj"
        tensors = {
            f"{query}.weight": None,
            f"{query}.base_layer.weight": ["BF16", [64, 64], "normal"],
            f"{query}.lora_A.weight": ["BF16", [8, 64], "normal"],
            f"{query}.lora_B.weight": ["BF16", [64, 8], "zeros"],
        }
        assert "merge the adapter" in refused(model(tmp_path / "model", {"tensors.json": tensors}), "wrapper-prefix")

    def test_two_tensors_of_one_name(self, tmp_path: Path) -> None:
        patch = {"tensors.json": {"module.model.norm.weight": ["BF16", [64], "ones"]}}
        assert "two tensors would have one name" in refused(model(tmp_path / "model", patch), "wrapper-prefix")

    def test_a_shard_that_is_not_here_is_fetched_first(self, tmp_path: Path) -> None:
        folder = self.prefixed(tmp_path / "model", "module.")
        (folder / TWO).unlink()
        assert f"fetch {TWO} first" in refused(folder, "wrapper-prefix")


class TestIndex:
    def sharded(self, folder: Path, names: tuple[str, str] = (ONE, TWO), **index: Any) -> Tensors:
        """The healthy checkpoint in two files, with an index that says what `index` does."""
        tensors = load_file(model(folder) / SINGLE)
        (folder / SINGLE).unlink()
        parts = [{n: t for n, t in tensors.items() if ("layers.1" in n) == second} for second in (False, True)]
        for name, part in zip(names, parts, strict=True):
            save_file(part, folder / name, {"format": "pt"})
        told = {n: name for name, part in zip((ONE, TWO), parts, strict=True) for n in part}
        (folder / INDEX).write_text(json.dumps({"metadata": {"made_by": "hand"}, "weight_map": told} | index))
        return tensors

    def test_shards_of_other_names_are_indexed_anew(self, tmp_path: Path) -> None:
        names = ("model-1.safetensors", "model-2.safetensors")
        tensors = self.sharded(tmp_path / "model", names)
        new = mended(tmp_path / "model", tmp_path, "shard-missing", unsafe=False)
        index = json.loads((new / INDEX).read_text())
        assert index["metadata"] == {"made_by": "hand", "total_size": sum(t.nbytes for t in tensors.values())}
        assert index["weight_map"] == {n: names["layers.1" in n] for n in tensors}
        assert torch.equal(logits(new), logits(model(tmp_path / "healthy")))

    def test_one_that_is_really_absent_is_fetched(self, tmp_path: Path) -> None:
        self.sharded(tmp_path / "model")
        (tmp_path / "model" / TWO).unlink()
        reason = refused(tmp_path / "model", "shard-missing")
        assert f"{ONE} is one of 2 shards and 1 are here: fetch the rest" in reason

    def test_absent_under_a_name_without_numbers(self, tmp_path: Path) -> None:
        self.sharded(tmp_path / "model", ("a.safetensors", "b.safetensors"))
        (tmp_path / "model" / "b.safetensors").unlink()
        assert f"fetch or save again '{TWO}'" in refused(tmp_path / "model", "shard-missing")

    def test_a_tensor_in_two_files_is_ambiguous(self, tmp_path: Path) -> None:
        tensors = self.sharded(tmp_path / "model", ("a.safetensors", "b.safetensors"))
        save_file({"model.norm.weight": tensors["model.norm.weight"]}, tmp_path / "model" / "old.safetensors")
        assert "is both in a.safetensors and in old.safetensors" in refused(tmp_path / "model", "shard-missing")

    def test_pickles_are_not_opened(self, tmp_path: Path) -> None:
        folder = model(tmp_path / "model", {SINGLE: None})
        told = {"weight_map": {"model.norm.weight": "pytorch_model-00001-of-00001.bin"}}
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps(told))
        assert "never opened" in refused(folder, "shard-missing")
