"""The rules on serving against what vLLM 0.32 and 0.33 were seen to do, loud or silent, and their traps."""

from __future__ import annotations

from typing import Any

import pytest
from support import found_for, severities

from modelcheck.facts.vllm_registry import Support, vllm_registry
from modelcheck.target import Targets
from modelcheck.testing import lint_overlay

VLLM = ["vllm==0.33"]
LONGROPE = {"rope_type": "longrope", "rope_theta": 10000.0, "factor": 4.0}


def config(slug: str, patch: dict[str, Any], *targets: str) -> list[str]:
    return severities(found_for(slug, targets, {"config.json": patch}))


class TestLoud:
    """One line for each exact error of vLLM that the rules foresee."""

    @pytest.mark.parametrize(
        "name", ["FooBarForCausalLM", "PeftModelForCausalLM", "UnslothLlamaForCausalLM", "FSDPLlamaForCausalLM"]
    )
    def test_model_architectures_are_not_supported_for_now(self, name: str) -> None:
        assert config("vllm-architecture", {"architectures": [name]}, *VLLM) == ["error"]

    @pytest.mark.parametrize(
        ("name", "last"),
        [
            ("MptForCausalLM", "0.28.0"),
            ("Phi3SmallForCausalLM", "0.9.2"),
            ("Phi4FlashForCausalLM", "0.10.2"),
            ("QWenLMHeadModel", "0.23.0"),
            ("ArcticForCausalLM", "0.28.0"),
            ("BaichuanForCausalLM", "0.23.0"),
        ],
    )
    def test_was_supported_in_vllm_until(self, name: str, last: str) -> None:
        files = {"config.json": {"architectures": [name], "model_type": "of_its_own"}}
        [finding] = found_for("vllm-architecture", VLLM, files)
        assert f"which vLLM supported until {last} and vLLM 0.33.0 no longer does" in finding.message
        assert severities([finding]) == ["error"]

    @pytest.mark.parametrize("name", ["BartForConditionalGeneration", "Florence2ForConditionalGeneration"])
    def test_is_not_supported_in_tree_anymore(self, name: str) -> None:
        files = {"config.json": {"architectures": [name], "model_type": "of_its_own"}}
        [finding] = found_for("vllm-architecture", VLLM, files)
        assert "expected the plugin https://github.com/vllm-project/bart-plugin" in finding.message

    def test_found_conflicts_between(self) -> None:
        patch = {"rope_parameters": {"rope_type": "yarn", "type": "linear", "factor": 2.0}}
        assert config("vllm-rope", patch, *VLLM) == ["error"]

    @pytest.mark.parametrize(
        ("kind", "missing"),
        [
            ({"rope_type": "yarn"}, "no factor"),
            ({"rope_type": "linear"}, "no factor"),
            ({"rope_type": "dynamic"}, "no factor"),
            ({"rope_type": "llama3", "factor": 8.0}, "no low_freq_factor and no high_freq_factor"),
            ({"rope_type": "longrope"}, "no short_factor and no long_factor"),
            ({"type": "su"}, "no short_factor and no long_factor"),
            ({"rope_type": "mrope"}, "no mrope_section"),
        ],
    )
    def test_missing_required_keys(self, kind: dict[str, Any], missing: str) -> None:
        rope = {"rope_type": None, "rope_theta": 10000.0, **kind}
        [finding] = found_for("vllm-rope", VLLM, {"config.json": {"rope_parameters": rope}})
        assert (missing in finding.message, str(finding.severity)) == (True, "error")

    def test_unknown_rope_scaling_type(self) -> None:
        patch = {"rope_parameters": {"rope_type": "frobnicate", "factor": 2.0}}
        assert config("vllm-rope", patch, *VLLM) == ["error"]
        assert config("vllm-rope", patch) == ["info"]
        assert config("vllm-rope", patch, "llama.cpp") == []

    def test_cannot_load_image_processor(self) -> None:
        gemma = {"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3",
                 "vision_config": {"hidden_size": 8}}  # fmt: skip
        assert config("vllm-processor-missing", gemma, *VLLM) == ["error"]
        assert config("vllm-processor-missing", gemma) == ["warning"]
        files = {"config.json": gemma, "preprocessor_config.json": "{}"}
        assert not found_for("vllm-processor-missing", VLLM, files)

    def test_there_is_no_module_or_parameter_named_language_model(self) -> None:
        files = {"tensors.json": {"language_model.model.norm.weight": ["BF16", [64], "ones"]}}
        [finding] = found_for("vllm-architecture", VLLM, files)
        assert "tensors are called 'language_model.model.norm.weight'" in finding.message
        assert severities([finding]) == ["error"]

    def test_a_multimodal_class_without_its_tower(self) -> None:
        gemma = {"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3",
                 "vision_config": {"hidden_size": 8}}  # fmt: skip
        [finding] = found_for("vllm-architecture", VLLM, {"config.json": gemma})
        assert "no tensor is of such a tower" in finding.message
        tower = {"config.json": gemma, "tensors.json": {"vision_tower.norm.weight": ["BF16", [8], "ones"]}}
        assert not found_for("vllm-architecture", VLLM, tower)

    def test_a_dropped_class_that_transformers_may_run_is_a_warning(self) -> None:
        files = {"config.json": {"architectures": ["PersimmonForCausalLM"], "model_type": "persimmon"}}
        [finding] = found_for("vllm-architecture", VLLM, files)
        assert finding.message.endswith("unless its Transformers backend can run it")
        assert severities([finding]) == ["warning"]


class TestSilent:
    """What vLLM loads without a word."""

    def test_the_class_of_another_family(self) -> None:
        patch = {"architectures": ["Qwen2ForCausalLM"]}
        [finding] = found_for("vllm-architecture", VLLM, {"config.json": patch})
        assert "belongs to model type 'qwen2', not to 'llama', expected ['LlamaForCausalLM']" in finding.message
        assert severities([finding]) == ["error"]
        assert config("vllm-architecture", patch) == ["warning"]
        assert config("vllm-architecture", patch, "llama.cpp") == []

    def test_ids_beyond_the_rows(self) -> None:
        rows = {"model.embed_tokens.weight": ["BF16", [318, 64], "normal"]}
        files = {"tensors.json": rows, "config.json": {"vocab_size": 318}}
        assert severities(found_for("id-exceeds-rows", VLLM, files)) == ["error"]

    def test_architectures_missing_or_empty(self) -> None:
        assert config("vllm-architecture", {"architectures": None}, *VLLM) == ["warning"]
        assert config("vllm-architecture", {"architectures": []}) == ["info"]

    @pytest.mark.parametrize(("share", "expected"), [(None, 16), (0.75, 12)])
    def test_factors_of_longrope_of_the_wrong_length(self, share: float | None, expected: int) -> None:
        lists = {"short_factor": [1.0] * expected, "long_factor": [1.0] * 5}
        patch = {"rope_parameters": {**LONGROPE, **lists}, "partial_rotary_factor": share}
        [finding] = found_for("vllm-rope", VLLM, {"config.json": patch})
        assert finding.message.startswith(f"long_factor has length 5, expected {expected}, half of the rotated part")
        assert (str(finding.severity), finding.at) == ("error", "/rope_parameters/long_factor")

    def test_a_partial_rotary_factor_that_was_lost(self) -> None:
        lists = {"short_factor": [1.0] * 12, "long_factor": [1.0] * 12}
        assert config("vllm-rope", {"rope_parameters": {**LONGROPE, **lists}}, *VLLM) == ["error", "error"]
        inside = {"rope_parameters": {**LONGROPE, **lists, "partial_rotary_factor": 0.75}}
        assert config("vllm-rope", inside, *VLLM) == []

    def test_a_stop_id_that_does_not_exist(self) -> None:
        files = {"generation_config.json": {"eos_token_id": [3, 5000]}}
        assert severities(found_for("vllm-stop-ids", VLLM, files)) == ["error"]
        assert severities(found_for("vllm-stop-ids", [], files)) == ["warning"]

    def test_stop_ids_of_config_json_do_not_count_beside_a_generation_config(self) -> None:
        files = {"tokenizer_config.json": {"eos_token": "<|reserved_0|>"}, "config.json": {"eos_token_id": [3, 4]},
                 "generation_config.json": {"eos_token_id": None}}  # fmt: skip
        [finding] = found_for("vllm-stop-ids", VLLM, files)
        assert "vLLM stops at 4 (tokenizer_config.json), expected '<|im_end|>' (id 3) among them" in finding.message
        assert not found_for("vllm-stop-ids", VLLM, files | {"generation_config.json": "null"})
        assert not found_for("vllm-stop-ids", ["llama.cpp"], files)

    @pytest.mark.parametrize(
        "values", [{"max_new_tokens": 7}, {"temperature": 0.01}, {"top_p": 0.001}, {"top_k": 1, "do_sample": True}]
    )
    def test_values_that_cut_off_every_answer_or_make_them_all_the_same(self, values: dict[str, Any]) -> None:
        files = {"generation_config.json": values}
        assert severities(found_for("vllm-generation-defaults", VLLM, files)) == ["warning"]
        assert severities(found_for("vllm-generation-defaults", [], files)) == ["info"]
        assert not found_for("vllm-generation-defaults", ["transformers>=5"], files)

    def test_do_sample_false_does_not_make_vllm_greedy(self) -> None:
        files = {"generation_config.json": {"do_sample": False, "temperature": 0.6}}
        assert severities(found_for("vllm-generation-defaults", VLLM, files)) == ["warning", "info"]


class TestTraps:
    @pytest.mark.parametrize(
        ("model_type", "name"),
        [
            ("gemma3_text", "Gemma3ForConditionalGeneration"),
            ("gemma3_text", "Gemma3ForCausalLM"),
            ("gpt_neox", "GPTNeoXForCausalLM"),
            ("smollm3", "SmolLM3ForCausalLM"),
            ("llama", "LlamaForSequenceClassification"),
            ("llama", "LlamaModel"),
            ("bert", "BertModel"),
            ("qwen2_5_vl", "Qwen2_5_VLForConditionalGeneration"),
            ("kimi_k2", "DeepseekV3ForCausalLM"),
        ],
    )
    def test_what_vllm_runs_is_silent(self, model_type: str, name: str) -> None:
        assert config("vllm-architecture", {"model_type": model_type, "architectures": [name]}, *VLLM) == []

    def test_a_class_that_the_checkpoint_brings_is_a_warning(self) -> None:
        patch = {"architectures": ["MineForCausalLM"], "model_type": "mine",
                 "auto_map": {"AutoModelForCausalLM": "modeling_mine.MineForCausalLM"}}  # fmt: skip
        assert config("vllm-architecture", patch, *VLLM) == ["warning"]

    def test_an_unknown_class_is_information_where_nobody_named_vllm(self) -> None:
        assert config("vllm-architecture", {"architectures": ["FooBarForCausalLM"]}) == ["info"]
        assert config("vllm-architecture", {"architectures": ["FooBarClassifier"]}) == []

    def test_what_the_publisher_recommends_is_information(self) -> None:
        files = {"generation_config.json": {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "do_sample": True}}
        assert severities(found_for("vllm-generation-defaults", VLLM, files)) == ["info"]
        assert not found_for("vllm-generation-defaults", [], files)

    @pytest.mark.parametrize(
        "rope",
        [
            {"rope_type": "yarn", "factor": 4.0},
            {"rope_type": "default", "mrope_section": [4, 4, 8], "type": "mrope"},
            {"type": "mrope", "mrope_section": [4, 4, 8]},
            {"rope_type": "dynamic", "alpha": 1000.0},
            {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
        ],
    )
    def test_what_is_filled_in_or_renamed_is_fine(self, rope: dict[str, Any]) -> None:
        rope = {"rope_type": None, "rope_theta": 1e6, **rope}
        assert config("vllm-rope", {"rope_parameters": rope}, *VLLM) == []

    def test_a_text_model_needs_no_processor(self) -> None:
        text = {"architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text"}
        assert config("vllm-processor-missing", text, *VLLM) == []


class TestRegistry:
    def test_the_nearest_table_at_or_below_is_used(self) -> None:
        versions = {"vllm==0.33": "0.33.0", "vllm==0.30.1": "0.24.0", "vllm": "0.33.0", "vllm==0.10.2": "0.10.2"}
        found = {asked: vllm_registry(Targets.parse([asked])).version for asked in versions}
        assert found == versions
        assert vllm_registry(Targets()).version == "0.33.0"

    def test_a_version_newer_than_all_tables_says_so(self) -> None:
        asked = vllm_registry(Targets.parse(["vllm==0.40"])).asked
        assert asked == "vLLM 0.33.0 (the newest that modelcheck knows; vllm==0.40 was asked for)"

    def test_the_last_version_of_a_dropped_class_counts_between_tables(self) -> None:
        support = {v: vllm_registry(Targets.parse([f"vllm=={v}"])).support("PersimmonForCausalLM")
                   for v in ("0.24.0", "0.25.0", "0.26", "0.33.0")}  # fmt: skip
        assert [s is Support.DROPPED for s in support.values()] == [False, False, True, True]

    def test_older_than_all_tables_could_not_be_checked(self) -> None:
        [report] = lint_overlay({}, target=["vllm==0.6"])
        assert "vllm-architecture" in {s.slug for s in report.skipped}

    def test_the_registry_holds_as_many_as_vllm_itself_says(self) -> None:
        registry = vllm_registry(Targets.parse(["vllm==0.33.0"]))
        assert len(registry.native | registry.transformers) == 415
        assert (len(registry.dropped), len(registry.out_of_tree)) == (50, 5)


def test_healthy_for_every_target() -> None:
    for target in ("transformers<5", "transformers>=5", "vllm==0.33", "llama.cpp", "ollama", "tgi"):
        [report] = lint_overlay({}, target=[target])
        assert [f for f in report.findings if str(f.severity) != "info"] == []
