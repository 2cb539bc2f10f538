"""The traps of the tokenizer rules: what they must not say, and what they must say of hard cases."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support import found, severities

from modelcheck.checks.tokenizer import bos_missing, double_bos, pad_is_eos, pad_missing, special_token_unknown
from modelcheck.facts.config import Config
from modelcheck.facts.special_tokens import special_tokens
from modelcheck.testing import lint_overlay

BASE_TEMPLATE = {"chat_template": None, "eos_token": "<|bos|>"}


def config(**values: object) -> Config:
    return Config(values, values, "")


class TestPadIsEos:
    def test_error_for_a_chat_model_and_warning_for_a_base_model(self) -> None:
        tokens = special_tokens({"pad_token": "</s>", "eos_token": "</s>"})
        assert severities(pad_is_eos.on(special_tokens=tokens, is_chat=True)) == ["error"]
        assert severities(pad_is_eos.on(special_tokens=tokens, is_chat=False)) == ["warning"]

    def test_names_the_collators_it_hurts_and_those_it_does_not(self) -> None:
        [finding] = found("pad-is-eos", tokenizer_config={"pad_token": "<|im_end|>"})
        assert "DataCollatorForLanguageModeling(mlm=False)" in finding.message
        assert "TRL's own collator, which pads labels with -100, is safe" in finding.message

    def test_a_pad_that_is_a_secondary_stop_id_is_fine(self) -> None:
        """Qwen2.5 pads with a token that also ends generation."""
        assert not found("pad-is-eos", generation_config={"eos_token_id": [3, 0]})

    def test_a_token_may_be_an_object_with_a_content(self) -> None:
        assert found("pad-is-eos", tokenizer_config={"pad_token": {"content": "<|im_end|>", "lstrip": False}})

    def test_ids_are_compared_where_only_the_config_names_a_pad(self) -> None:
        ids = config(pad_token_id=0, eos_token_id=0)
        assert severities(pad_is_eos.on(special_tokens=special_tokens(), is_chat=True, config=ids)) == ["warning"]
        secondary = config(pad_token_id=7, eos_token_id=[9, 7])
        assert not pad_is_eos.on(special_tokens=special_tokens(), is_chat=True, config=secondary)

    def test_the_tokenizers_own_pad_outranks_the_config(self) -> None:
        assert not found("pad-is-eos", config={"pad_token_id": 3})

    def test_a_pad_for_generation_alone_is_fine(self) -> None:
        assert not found("pad-is-eos", tokenizer_config={"pad_token": None}, config={"pad_token_id": None},
                         generation_config={"pad_token_id": 3})  # fmt: skip


class TestPadMissing:
    NOWHERE = {"tokenizer_config": {"pad_token": None}, "config": {"pad_token_id": None}}

    def test_warning_for_a_chat_model_information_for_a_base_model(self) -> None:
        nowhere: dict[str, Any] = {**self.NOWHERE, "generation_config": {"pad_token_id": None}}
        assert severities(found("pad-missing", **nowhere)) == ["warning"]
        nowhere["tokenizer_config"] = {"pad_token": None, **BASE_TEMPLATE}
        assert severities(found("pad-missing", **nowhere)) == ["info"]

    def test_id_zero_is_a_pad(self) -> None:
        assert not found("pad-missing", **self.NOWHERE, generation_config={"pad_token_id": 0})

    def test_the_pad_of_a_nested_text_config_counts(self) -> None:
        nested = Config({"text_config": {"pad_token_id": 0}}, {"pad_token_id": 0}, "/text_config")
        assert not pad_missing.on(tokenizer_config={}, is_chat=True, config=nested)

    def test_it_names_a_token_made_for_padding(self) -> None:
        nowhere: dict[str, Any] = {**self.NOWHERE, "generation_config": {"pad_token_id": None}}
        [finding] = found("pad-missing", **nowhere)
        assert "expected one such as '<|pad|>' (id 0)" in finding.message


class TestSpecialTokenUnknown:
    @pytest.mark.parametrize(
        ("role", "severity"), [("bos_token", "error"), ("eos_token", "error"), ("unk_token", "warning")]
    )
    def test_severity_by_role(self, role: str, severity: str) -> None:
        assert severities(found("special-token-unknown", tokenizer_config={role: "<|foreign|>"})) == [severity]

    def test_a_token_of_the_base_vocabulary_is_known(self) -> None:
        assert not found("special-token-unknown", tokenizer_config={"unk_token": "a"})

    def test_null_and_empty_are_no_tokens(self) -> None:
        assert not found("special-token-unknown", tokenizer_config={"bos_token": "", "unk_token": None})

    def test_placeholders_of_a_multimodal_model_are_its_processors(self) -> None:
        extra = {"tokenizer_config": {"additional_special_tokens": ["<image>"]}}
        assert severities(found("special-token-unknown", **extra)) == ["warning"]
        assert not found("special-token-unknown", **extra, processor_config={"image_token": "<image>"})

    def test_without_a_vocabulary_it_could_not_check(self) -> None:
        decoder = {"added_tokens_decoder": {"0": {"content": "<|pad|>"}}}
        [report] = lint_overlay({"tokenizer.json": "null", "tokenizer_config.json": json.dumps(decoder)})
        assert "special-token-unknown" in {s.slug for s in report.skipped}

    def test_a_near_token_is_suggested(self) -> None:
        [finding] = found("special-token-unknown", tokenizer_config={"eos_token": "<|imend|>"})
        assert finding.message.endswith("did you mean '<|im_end|>'?")
        assert special_token_unknown.code == "TOK003"


ADDS_BOS = {
    "post_processor": {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|bos|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<|bos|>": {"id": "<|bos|>", "ids": [1], "tokens": ["<|bos|>"]}},
    }
}
GEMMA = {"config": {"model_type": "gemma3_text"}}
WRITES_BOS = "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"


class TestBosMissing:
    def test_a_template_that_writes_it_is_enough(self) -> None:
        assert found("bos-missing", **GEMMA, tokenizer_config={"bos_token": "<|bos|>"})
        assert not found("bos-missing", **GEMMA, tokenizer_config={"bos_token": "<|bos|>", "chat_template": WRITES_BOS})

    def test_models_without_a_bos_by_design(self) -> None:
        for family in ("qwen2", "phi3", "gpt_neox", "glm"):
            assert not found("bos-missing", config={"model_type": family}, tokenizer_config={"bos_token": "<|bos|>"})

    def test_a_llama_shaped_model_with_a_bos_of_its_own_is_left_alone(self) -> None:
        assert not found("bos-missing", tokenizer_config={"bos_token": "<|im_start|>"})

    def test_llama_is_a_warning_unless_it_says_that_it_wants_none(self) -> None:
        class NoBos:
            prefix = ()

            def id(self, content: str) -> int:
                return 1

        facts = {"config": config(model_type="llama"), "tokenizer": NoBos(), "conversations": {}}
        tokens = special_tokens({"bos_token": "<s>"})
        assert severities(bos_missing.on(**facts, special_tokens=tokens, tokenizer_config={})) == ["warning"]
        assert not bos_missing.on(**facts, special_tokens=tokens, tokenizer_config={"add_bos_token": False})


class TestDoubleBos:
    def test_warning_on_a_checkpoint_whose_template_and_tokenizer_both_add_one(self) -> None:
        both = {"tokenizer_config": {"bos_token": "<|bos|>", "chat_template": WRITES_BOS}, "tokenizer": ADDS_BOS}
        assert severities(found("double-bos", **both)) == ["warning"]

    def test_a_flag_in_the_config_proves_nothing(self) -> None:
        """DeepSeek-V3 says add_bos_token and its tokenizer.json adds none."""
        says = {"bos_token": "<|bos|>", "add_bos_token": True, "chat_template": WRITES_BOS}
        assert not found("double-bos", tokenizer_config=says)

    def test_a_bos_that_also_opens_every_turn_is_not_doubled(self) -> None:
        assert not found("double-bos", tokenizer_config={"bos_token": "<|im_start|>"})

    def test_a_tokenizer_that_adds_and_a_template_that_does_not(self) -> None:
        assert not found("double-bos", tokenizer_config={"bos_token": "<|bos|>"}, tokenizer=ADDS_BOS)
        assert double_bos.code == "TOK005"
