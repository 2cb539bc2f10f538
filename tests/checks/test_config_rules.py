"""The traps of the rules on config.json: what they must not say, and how bad they call what they do say."""

from __future__ import annotations

from typing import Any

import pytest
from support import found, found_for, severities

GEMMA = {"model_type": "gemma", "architectures": ["GemmaForCausalLM"], "hidden_act": "gelu"}
V5 = {"rope_theta": None, "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}}


class TestSlidingWindow:
    def test_advice_for_the_family_that_slipped_information_for_others(self) -> None:
        phi = {"sliding_window": 2047, "model_type": "phi3", "architectures": ["Phi3ForCausalLM"]}
        [finding] = found("sliding-window-off-by-one", config=phi)
        assert severities([finding]) == ["warning"]
        assert finding.message.startswith("sliding_window is 2047, expected 2048, a power of two: ")
        assert severities(found("sliding-window-off-by-one", config={"sliding_window": 4095})) == ["info"]

    @pytest.mark.parametrize("window", [None, 512, 2048, 1023 * 3, 127])
    def test_other_windows_and_none_are_fine(self, window: int | None) -> None:
        assert not found("sliding-window-off-by-one", config={"sliding_window": window})

    def test_a_window_that_is_switched_off_is_none(self) -> None:
        assert not found("sliding-window-off-by-one", config={"sliding_window": 4095, "use_sliding_window": False})

    def test_it_is_found_in_the_text_part(self) -> None:
        [finding] = found("sliding-window-off-by-one", config={"text_config": {"sliding_window": 1023}})
        assert finding.at == "/text_config/sliding_window"


class TestGemmaExactGelu:
    def test_information_as_todays_runtimes_put_it_right(self) -> None:
        assert severities(found("gemma-exact-gelu", config=GEMMA)) == ["info"]

    @pytest.mark.parametrize("target", ["transformers<5", "llama.cpp"])
    def test_a_warning_for_those_that_believe_the_file(self, target: str) -> None:
        assert severities(found_for("gemma-exact-gelu", [target], {"config.json": GEMMA})) == ["warning"]

    @pytest.mark.parametrize(
        "patch",
        [
            {"hidden_activation": "gelu_pytorch_tanh"},
            {"hidden_act": "gelu_pytorch_tanh"},
            {"model_type": "gemma2", "architectures": ["Gemma2ForCausalLM"]},
        ],
    )
    def test_the_newer_field_wins_and_later_gemmas_are_not_meant(self, patch: dict[str, Any]) -> None:
        assert not found("gemma-exact-gelu", config=GEMMA | patch)


class TestUseCacheFalse:
    NO_FILE = {"generation_config.json": "null"}

    def test_a_warning_where_generation_goes_by_it(self) -> None:
        files = {"config.json": {"use_cache": False}, **self.NO_FILE}
        assert severities(found_for("use-cache-false", [], files)) == ["warning"]

    def test_information_where_generation_config_has_a_say(self) -> None:
        assert severities(found("use-cache-false", config={"use_cache": False})) == ["info"]

    def test_the_switch_of_generation_config_itself(self) -> None:
        [finding] = found("use-cache-false", generation_config={"use_cache": False})
        assert (finding.file, str(finding.severity)) == ("generation_config.json", "warning")

    @pytest.mark.parametrize("target", ["vllm", "llama.cpp"])
    def test_runtimes_with_a_cache_of_their_own_do_not_read_it(self, target: str) -> None:
        assert not found_for("use-cache-false", [target], {"config.json": {"use_cache": False}, **self.NO_FILE})

    def test_classifiers_and_encoders_need_none(self) -> None:
        reward = {"use_cache": False, "architectures": ["LlamaForSequenceClassification"]}
        assert not found("use-cache-false", config=reward)


class TestRopeTypeConflict:
    @pytest.mark.parametrize(("legacy", "modern"), [("su", "longrope"), ("mrope", "default"), ("yarn", "yarn")])
    def test_two_names_of_one_thing_are_fine(self, legacy: str, modern: str) -> None:
        assert not found("rope-type-conflict", config={"rope_parameters": {"type": legacy, "rope_type": modern}})

    def test_one_name_is_fine(self) -> None:
        assert not found("rope-type-conflict", config={"rope_scaling": {"type": "dynamic", "factor": 2.0}})

    def test_the_parameters_of_one_kind_of_layer(self) -> None:
        nested = {"full_attention": {"type": "linear", "rope_type": "yarn", "factor": 8.0}, "rope_type": None}
        [finding] = found("rope-type-conflict", config={"rope_parameters": {**nested, "rope_theta": None}})
        assert (finding.at, str(finding.severity)) == ("/rope_parameters/full_attention/type", "error")


class TestRopeV5Only:
    @pytest.mark.parametrize("target", ["transformers<5", "transformers==4.57.6", "vllm==0.10.2"])
    def test_an_error_for_who_reads_it_with_transformers_4(self, target: str) -> None:
        assert severities(found_for("rope-v5-only", [target], {"config.json": V5})) == ["error"]

    @pytest.mark.parametrize("target", ["transformers>=5", "vllm==0.33", "ollama"])
    def test_silent_for_who_reads_it_with_transformers_5_or_not_at_all(self, target: str) -> None:
        assert not found_for("rope-v5-only", [target], {"config.json": V5})

    def test_information_where_nobody_is_named(self) -> None:
        assert severities(found("rope-v5-only", config=V5)) == ["info"]

    def test_both_shapes_beside_each_other_are_the_remedy(self) -> None:
        assert not found_for("rope-v5-only", ["transformers<5"], {"config.json": V5 | {"rope_theta": 500000.0}})

    def test_nothing_is_lost_where_theta_is_the_default(self) -> None:
        usual = {"rope_theta": None, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}
        assert not found_for("rope-v5-only", ["transformers<5"], {"config.json": usual})
        mixtral = {"model_type": "mixtral", "architectures": ["MixtralForCausalLM"]}
        million = {"rope_theta": None, "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0}}
        assert not found_for("rope-v5-only", ["transformers<5"], {"config.json": mixtral | million})
        assert found_for("rope-v5-only", ["transformers<5"], {"config.json": million})

    def test_a_lost_scaling_is_told_too(self) -> None:
        scaled = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
                  "high_freq_factor": 4.0}  # fmt: skip
        [finding] = found_for("rope-v5-only", ["transformers<5"],
                              {"config.json": {"rope_theta": None, "rope_parameters": scaled}})  # fmt: skip
        assert finding.message.startswith("the scaling 'llama3' stands only in rope_parameters")
