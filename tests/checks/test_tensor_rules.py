"""The traps of the rules on which tensors there are, how they are stored and what they hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import found, severities

import modelcheck
from modelcheck import tiny
from modelcheck.facts.config import Config
from modelcheck.facts.periodic import periodic_gaps
from modelcheck.facts.tensor_names import wrapped
from modelcheck.facts.tensors import Tensor, Tensors
from modelcheck.finding import Finding
from modelcheck.testing import lint_overlay, write_overlay

HEAD, EMBEDDING, INDEX = "lm_head.weight", "model.embed_tokens.weight", "model.safetensors.index.json"
K_PROJ, NORM = "model.layers.1.self_attn.k_proj.weight", "model.layers.0.input_layernorm.weight"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"


def skipped(slug: str, overlay: dict[str, str], **options: Any) -> list[str]:
    [report] = lint_overlay(overlay, **options)
    assert report.internal == []
    assert slug not in {f.slug for f in report.findings}
    return [s.reason for s in report.skipped if s.slug == slug]


def weights(folder: Path, tensors: dict[str, Any], **files: str) -> list[Finding]:
    """Lint the tiny checkpoint with other tensors in it; the files are overlays."""
    write_overlay(folder, files)
    (folder / "model.safetensors").write_bytes(tiny.safetensors(tensors))
    [report] = modelcheck.lint(folder)
    assert report.internal == []
    return report.findings


def names(*names: str) -> Tensors:
    return Tensors({name: Tensor(name, "BF16", (4, 4), "model.safetensors", 0, 32) for name in names}, {})


class TestMissingTensor:
    def missing(self, **options: Any) -> list[Finding]:
        return found("missing-tensor", **options)

    def test_names_the_tensor_and_what_happens(self) -> None:
        [finding] = self.missing(tensors={K_PROJ: None})
        assert severities([finding]) == ["error"]
        assert (finding.file, finding.at) == ("model.safetensors", K_PROJ)
        assert "LlamaForCausalLM has with this config" in finding.message
        assert "vLLM loads it all the same and generates garbage" in finding.message

    def test_names_both_shapes(self) -> None:
        [finding] = self.missing(tensors={K_PROJ: ["BF16", [64, 64], "normal"]})
        assert f"{K_PROJ} is [64, 64], expected [32, 64]" in finding.message

    def test_a_config_of_another_size(self) -> None:
        [finding] = self.missing(config={"num_hidden_layers": 3})
        assert "and 6 more" in finding.message

    def test_more_tensors_than_expected_do_no_harm(self) -> None:
        more = {f"model.layers.2.{name}": ["BF16", [4], "ones"] for name in ("a.weight", "b.weight")}
        assert not self.missing(tensors={**more, "model.layers.0.self_attn.q_proj.bias": ["BF16", [64], "zeros"]})

    def test_biases_that_no_layer_has_are_a_warning(self) -> None:
        assert severities(self.missing(config={"attention_bias": True})) == ["warning"]

    def test_the_rows_of_the_embedding_are_the_matter_of_another_rule(self) -> None:
        assert not self.missing(config={"vocab_size": 326})

    def test_a_missing_head_is_the_matter_of_another_rule(self) -> None:
        assert not self.missing(tensors={HEAD: None})

    @pytest.mark.parametrize(
        ("overlay", "reason"),
        [
            ({"config.json": '{"quantization_config": {"quant_method": "gptq"}}'}, "announces quantised"),
            ({"tensors.json": json.dumps({K_PROJ: ["I32", [8, 32], "ones"]})}, "stored quantised"),
            ({"config.json": '{"model_type": "unheard_of"}'}, "no table says"),
            ({"config.json": '{"model_type": "../llama"}'}, "no table says"),
            ({"config.json": '{"model_type": ["llama"]}'}, "no table says"),
            ({"config.json": '{"architectures": ["LlamaModel"]}'}, "the table is that of LlamaForCausalLM"),
            ({"config.json": '{"num_attention_heads": "two"}'}, "does not say"),
            ({"config.json": '{"hidden_size": 1e30}'}, "does not say"),
            ({"config.json": '{"head_dim": true}'}, "does not say"),
            ({"config.json": '{"num_hidden_layers": 9999999}'}, "more than 400000"),
        ],
    )
    def test_what_cannot_be_compared_is_not_judged(self, overlay: dict[str, str], reason: str) -> None:
        [said] = skipped("missing-tensor", overlay)
        assert reason in said

    def test_names_of_another_kind_altogether(self, tmp_path: Path) -> None:
        other = {f"language_model.{name}": values for name, values in tiny.tensors().items()}
        assert "missing-tensor" not in {f.slug for f in weights(tmp_path, other)}

    def test_names_without_the_prefix_of_the_model(self, tmp_path: Path) -> None:
        bare = {name.removeprefix("model."): values for name, values in tiny.tensors().items()}
        assert weights(tmp_path, bare) == []

    def test_a_shard_that_is_not_here(self, tmp_path: Path) -> None:
        write_overlay(tmp_path, {})
        (tmp_path / "model.safetensors").rename(tmp_path / "model-00001-of-00002.safetensors")
        [report] = modelcheck.lint(tmp_path, select=["missing-tensor"])
        assert "one of 2 shards" in report.skipped[0].reason

    def test_a_tensor_that_the_index_places_in_a_missing_shard(self, tmp_path: Path) -> None:
        some = {name: values for name, values in tiny.tensors().items() if name != K_PROJ}
        weight_map = dict.fromkeys(some, "a.safetensors") | {K_PROJ: "b.safetensors"}
        write_overlay(tmp_path, {"model.safetensors": "null", INDEX: json.dumps({"weight_map": weight_map})})
        (tmp_path / "a.safetensors").write_bytes(tiny.safetensors(some))
        [report] = modelcheck.lint(tmp_path)
        assert [f.slug for f in report.findings] == ["shard-missing"]

    def test_a_git_lfs_pointer(self, tmp_path: Path) -> None:
        write_overlay(tmp_path, {})
        (tmp_path / "model.safetensors").write_bytes(POINTER)
        [report] = modelcheck.lint(tmp_path)
        assert {f.slug for f in report.findings} == {"malformed-file"}


class TestLayerWithLayer:
    """Without a table."""

    def model(self, **layers: Any) -> dict[str, Any]:
        suffixes = {f"{name}.weight": (4, 4) for name in ("q", "k", "v", "o", "up", "down")}
        shapes = {f"model.layers.{i}.{name}": shape for i in range(8) for name, shape in suffixes.items()}
        return {name: shape for name, shape in (shapes | layers).items() if shape}

    def test_a_hole_and_an_odd_shape(self) -> None:
        assert periodic_gaps(self.model()) == []
        [hole] = periodic_gaps(self.model(**{"model.layers.3.k.weight": None}))
        assert (hole.name, hole.expected, hole.found) == ("model.layers.3.k.weight", (4, 4), None)
        [odd] = periodic_gaps(self.model(**{"model.layers.3.k.weight": (4, 5)}))
        assert (odd.name, odd.expected, odd.found) == ("model.layers.3.k.weight", (4, 4), (4, 5))

    def test_an_expert(self) -> None:
        experts = {f"model.layers.{i}.experts.{e}.{n}.w": (2, 2) for i in range(8) for e in range(8) for n in "abcde"}
        assert periodic_gaps(experts) == []
        experts.pop("model.layers.3.experts.4.b.w")
        assert [gap.name for gap in periodic_gaps(experts)] == ["model.layers.3.experts.4.b.w"]

    @pytest.mark.parametrize(
        "layers",
        [
            {"model.layers.0.q.weight": None},  # a first layer without the norm that the embedding has
            {"model.layers.7.o.weight": None},
            {f"model.layers.3.{name}.weight": None for name in ("q", "k", "v", "o")},  # no attention in it
            {f"model.layers.3.{name}.weight": (4, 9) for name in ("up", "down")},  # a pruned block
            {f"model.layers.{i}.k.weight": (4, 4 + i) for i in range(8)},  # every layer of its own width
            {f"model.layers.{i}.k.weight": (4, 9) for i in (3, 6)},  # two kinds of attention
            {f"model.layers.{i}.cross.weight": (4, 9) for i in (3, 6)},
            {f"model.layers.{i}.v.weight": None for i in (6, 7)},  # shared with layers before
            {"mlp.0.weight": (4, 4), "mlp.2.weight": (4, 9)},
        ],
    )
    def test_layers_that_are_meant_to_differ(self, layers: dict[str, Any]) -> None:
        assert periodic_gaps(self.model(**layers)) == []


class TestWrapperPrefix:
    @pytest.mark.parametrize("prefix", ["base_model.model.", "_orig_mod.", "module."])
    def test_every_name_wrapped(self, prefix: str, tmp_path: Path) -> None:
        findings = weights(tmp_path, {f"{prefix}{name}": values for name, values in tiny.tensors().items()})
        [finding] = [f for f in findings if f.slug == "wrapper-prefix"]
        assert [f.slug for f in findings] == ["wrapper-prefix"]
        assert finding.message.startswith("21 tensor names hold")

    def test_a_prefix_added_twice(self, tmp_path: Path) -> None:
        doubled = {name.replace("model.", "model.model.", 1): values for name, values in tiny.tensors().items()}
        assert [f.slug for f in weights(tmp_path, doubled)] == ["wrapper-prefix"]
        unknown = Config({"model_type": "unheard_of"}, {}, "")
        assert not wrapped(unknown, names("model.model.layers.0.q.weight"))

    def test_a_module_that_was_to_be_saved(self) -> None:
        config = Config({"model_type": "llama"}, {}, "")
        assert list(wrapped(config, names("lm_head.modules_to_save.default.weight")).names) == ["modules_to_save"]

    def test_adapters_that_belong_to_the_architecture(self) -> None:
        config = Config({"model_type": "phi4mm", "vision_lora": {"r": 256}}, {}, "")
        assert not wrapped(config, names("model.layers.0.o.base_layer.weight", "model.layers.0.o.lora_A.vision.weight"))

    def test_names_that_only_look_alike(self) -> None:
        config = Config({"model_type": "llama"}, {}, "")
        assert not wrapped(config, names("model.modules.0.w", "model.lora_alpha", "encoder.module.w", "sub_module.w"))

    def test_an_adapter_beside_the_model(self, tmp_path: Path) -> None:
        write_overlay(tmp_path, {})
        lora = {"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": np.ones((8, 64), np.float32)}
        (tmp_path / "adapter_model.safetensors").write_bytes(tiny.safetensors(lora))
        assert modelcheck.lint(tmp_path, select=["wrapper-prefix"]).findings == []


class TestHeadMissing:
    def missing(self, **options: Any) -> list[Finding]:
        return found("head-missing", **{"tensors": {HEAD: None}, **options})

    def test_says_what_the_config_says(self) -> None:
        [finding] = self.missing()
        assert (finding.file, finding.at) == ("config.json", "/tie_word_embeddings")
        assert finding.message.startswith("tie_word_embeddings is false")

    def test_an_absent_key_is_the_default_of_the_class(self) -> None:
        [finding] = self.missing(config={"tie_word_embeddings": None})
        assert "absent, which llama reads as false" in finding.message
        gemma = {"tie_word_embeddings": None, "model_type": "gemma", "architectures": ["GemmaForCausalLM"]}
        assert not self.missing(config=gemma)

    def test_nobody_knows_the_default_of_an_unknown_class(self) -> None:
        own = '{"tie_word_embeddings": null, "model_type": "unheard_of"}'
        [reason] = skipped("head-missing", {"config.json": own, "tensors.json": json.dumps({HEAD: None})})
        assert "no table says what 'unheard_of' has" in reason

    @pytest.mark.parametrize("name", ["LlamaModel", "LlamaForSequenceClassification", "BertForMaskedLM"])
    def test_other_classes_have_no_head(self, name: str) -> None:
        assert not self.missing(config={"architectures": [name]})

    @pytest.mark.parametrize("name", ["lm_head.linear.weight", "output.weight", "transformer.output_layer.weight"])
    def test_unknown_classes_have_other_names_for_it(self, name: str) -> None:
        config = {"model_type": "unheard_of", "architectures": ["OwnForCausalLM"]}
        assert not self.missing(config=config, tensors={HEAD: None, name: ["BF16", [320, 64], "normal"]})

    def test_a_quantised_head(self) -> None:
        assert not self.missing(tensors={HEAD: None, "lm_head.qweight": ["I32", [8, 320], "ones"]})

    def test_a_tied_multimodal_model(self) -> None:
        assert not self.missing(config={"tie_word_embeddings": None, "text_config": {"tie_word_embeddings": True}})


class TestTiedButTwoHeads:
    def two(self, folder: Path, head: Any, target: tuple[str, ...] = (), reading: str = "embeddings") -> list[Finding]:
        write_overlay(folder, {"config.json": '{"tie_word_embeddings": true}'})
        (folder / "model.safetensors").write_bytes(tiny.safetensors({**tiny.tensors(), HEAD: head}))
        return modelcheck.lint(folder, target=target, weights=reading, select=["tied-but-two-heads"]).findings

    def test_a_copy_is_harmless(self, tmp_path: Path) -> None:
        assert self.two(tmp_path, tiny.tensors()[EMBEDDING]) == []

    def test_names_the_first_row_that_differs(self, tmp_path: Path) -> None:
        head = tiny.tensors()[EMBEDDING].copy()
        head[7, 3] = 9
        [finding] = self.two(tmp_path, head)
        assert "differs from model.embed_tokens.weight, from row 7 on" in finding.message

    def test_another_shape(self, tmp_path: Path) -> None:
        [finding] = self.two(tmp_path, np.ones((321, 64), np.float32), reading="none")
        assert "[321, 64]" in finding.message

    def test_what_was_not_read_is_not_judged(self, tmp_path: Path) -> None:
        assert self.two(tmp_path, np.ones((320, 64), np.float32), reading="none") == []

    @pytest.mark.parametrize(
        ("target", "severity"),
        [
            ((), "error"),
            (("transformers<5",), "error"),
            (("vllm==0.31",), "error"),
            (("vllm",), "warning"),
            (("transformers>=5",), "warning"),
            (("transformers>=5", "vllm==0.33"), "warning"),
            (("transformers>=5", "llama.cpp"), "error"),
        ],
    )
    def test_some_runtimes_keep_both(self, tmp_path: Path, target: tuple[str, ...], severity: str) -> None:
        assert severities(self.two(tmp_path, np.ones((320, 64), np.float32), target)) == [severity]


INTEGERS = {"model.layers.0.mlp.up_proj.qweight": ["I32", [16, 64], "ones"]}
INT_GROUPS = {"group_0": {"weights": {"num_bits": 4}}}


class TestQuantizationConfigLeft:
    def left(self, settings: Any, tensors: Any = None, target: tuple[str, ...] = ()) -> list[str]:
        overlay = {"config.json": json.dumps({"quantization_config": settings})}
        overlay |= {"tensors.json": json.dumps(tensors)} if tensors else {}
        return severities(lint_overlay(overlay, select=["quantization-config-left"], target=target).findings)

    @pytest.mark.parametrize(
        "settings",
        [
            {"quant_method": "fp8"},
            {"quant_method": "gptq", "bits": 4},
            {"quant_method": "awq", "bits": 4},
            {"quant_method": "mxfp4"},
            {"quant_method": "compressed-tensors", "config_groups": INT_GROUPS},
        ],
    )
    def test_is_an_error_without_packed_weights(self, settings: dict[str, Any]) -> None:
        assert self.left(settings) == ["error"]
        assert self.left(settings, INTEGERS) == []

    def test_bitsandbytes_may_be_meant(self) -> None:
        for settings in ({"quant_method": "bitsandbytes", "load_in_4bit": True}, {"load_in_8bit": True}):
            assert self.left(settings) == ["warning"]
            assert self.left(settings, target=("vllm==0.33",)) == ["error"]
        absmax = {"model.layers.0.mlp.up_proj.weight.absmax": ["F32", [16], "ones"]}
        assert self.left({"quant_method": "bitsandbytes"}, absmax) == []

    @pytest.mark.parametrize(
        "settings",
        [
            None,
            {},
            "gptq",
            {"quant_method": "torchao"},
            {"quant_method": "mxfp4", "dequantize": True},
            {"quant_method": "compressed-tensors", "kv_cache_scheme": {"num_bits": 8}, "config_groups": {}},
            {"quant_method": "compressed-tensors", "format": "dense", "config_groups": INT_GROUPS},
            {"quant_method": "bitnet", "quantization_mode": "online"},
        ],
    )
    def test_what_quantises_nothing_or_on_the_fly(self, settings: Any) -> None:
        assert self.left(settings) == []

    def test_blocks_and_scales_of_mxfp4(self) -> None:
        blocks = {"model.layers.0.mlp.experts.down_proj_scales": ["BF16", [4, 4], "ones"]}
        assert self.left({"quant_method": "mxfp4"}, blocks) == []


class TestNonFiniteWeights:
    def strange(self, tensors: dict[str, Any], reading: str = "embeddings") -> list[Finding]:
        overlay = {"tensors.json": json.dumps(tensors)}
        return lint_overlay(overlay, weights=reading, select=["non-finite-weights"]).findings

    def planted(self, folder: Path, name: str, shape: tuple[int, ...], value: float, dtype: str = "BF16") -> Path:
        """The tiny checkpoint with one value in the middle of a large tensor."""
        write_overlay(folder, {})
        large = np.zeros(shape, np.float32)
        large[tuple(size // 2 for size in shape)] = value
        (folder / "model.safetensors").write_bytes(tiny.safetensors({**tiny.tensors(), name: large}, {name: dtype}))
        return folder

    def test_the_embedding_and_the_norms_are_read_whole(self) -> None:
        [finding] = self.strange({EMBEDDING: {"200": "nan"}, NORM: ["F32", [64], "nan"]})
        assert finding.message.startswith("2 of the tensors hold NaN or infinite values")
        assert "64 of 20480 values that were read, from index [200, 0] on" in finding.message

    @pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_the_middle_of_a_large_tensor_only_when_all_is_read(self, tmp_path: Path, value: float, dtype: str) -> None:
        folder = self.planted(tmp_path, "extra.weight", (128, 512), value, dtype)
        assert modelcheck.lint(folder, select=["non-finite-weights"]).findings == []
        [finding] = modelcheck.lint(folder, select=["non-finite-weights"], weights="full").findings
        assert "1 of 65536 values, from index [64, 256] on" in finding.message

    def test_masks_are_made_of_infinities(self, tmp_path: Path) -> None:
        folder = self.planted(tmp_path, "model.causal_mask", (8, 8), -np.inf)
        assert modelcheck.lint(folder, select=["non-finite-weights"]).findings == []

    def test_integers_have_none(self) -> None:
        assert not self.strange({"extra.qweight": ["I32", [8, 8], "ones"]}, "full")

    def test_large_but_finite_values_are_values(self, tmp_path: Path) -> None:
        write_overlay(tmp_path, {})
        large = np.full((320, 64), 3e38, np.float32)
        weights = tiny.safetensors({**tiny.tensors(), EMBEDDING: large}, {EMBEDDING: "F32"})
        (tmp_path / "model.safetensors").write_bytes(weights)
        assert modelcheck.lint(tmp_path, select=["non-finite-weights"]).findings == []

    def test_nothing_is_read_when_no_weights_are_asked_for(self) -> None:
        assert "--weights embeddings" in skipped("non-finite-weights", {}, weights="none")[0]


class TestPickleWeights:
    def pickles(self, *names: str, safetensors: str = "null") -> list[str]:
        overlay = {"model.safetensors": safetensors, **dict.fromkeys(names, "not opened")}
        if safetensors != "null":
            del overlay["model.safetensors"]
        return severities(lint_overlay(overlay, select=["pickle-weights"]).findings)

    @pytest.mark.parametrize(
        "name",
        ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "consolidated.00.pth", "model.pt", "model.ckpt"],
    )
    def test_weights_without_a_twin(self, name: str) -> None:
        assert self.pickles(name) == ["warning"]
        assert self.pickles(name, safetensors="there") == []

    def test_an_adapter(self) -> None:
        assert self.pickles("adapter_model.bin") == ["warning"]
        assert self.pickles("adapter_model.bin", "adapter_model.safetensors") == []

    def test_what_is_no_weight(self) -> None:
        other = ("training_args.bin", "optimizer.bin", "optimizer.pt", "scheduler.pt", "rng_state_0.pth", "scaler.pt")
        assert self.pickles(*other) == []
