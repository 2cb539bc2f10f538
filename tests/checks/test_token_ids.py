"""Ids without a row: pad-out-of-range and id-exceeds-rows."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support import found, found_for, severities

from modelcheck import tiny

GEMMA_TRAP = "<image_soft_token>"


def with_tokens(*contents: str) -> dict[str, Any]:
    """The tiny tokenizer with further tokens from id 320 on, for which there is no row."""
    added = json.loads(tiny.tokenizer_json())["added_tokens"]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    added += [{"id": 320 + i, "content": content, **flags} for i, content in enumerate(contents)]
    return {"tokenizer.json": {"added_tokens": added}}


class TestIdExceedsRows:
    def test_an_ordinary_token_can_come_up_in_any_text(self) -> None:
        [finding] = found_for("id-exceeds-rows", [], with_tokens("<sep>", "<end>"))
        assert finding.message.startswith("2 tokens have ids without a row: '<sep> (id 320)', '<end> (id 321)'")
        assert (str(finding.severity), finding.file) == ("error", "tokenizer.json")

    def test_a_placeholder_that_no_text_holds_is_information(self) -> None:
        """Gemma 3's text models."""
        extra = {"tokenizer_config.json": {"extra_special_tokens": {"image_token": GEMMA_TRAP}}}
        for targets in ([], ["vllm==0.33"]):
            assert severities(found_for("id-exceeds-rows", targets, with_tokens(GEMMA_TRAP) | extra)) == ["info"]

    def test_a_placeholder_that_the_template_writes_is_an_error(self) -> None:
        template = "{% for m in messages %}" + GEMMA_TRAP + "{{ m.content }}<|im_end|>{% endfor %}"
        files = with_tokens(GEMMA_TRAP) | {"chat_template.jinja": template}
        assert severities(found_for("id-exceeds-rows", [], files)) == ["error"]

    def test_one_that_has_a_role_is_an_error(self) -> None:
        files = with_tokens("<vision>") | {"tokenizer_config.json": {"unk_token": "<vision>"}}
        assert severities(found_for("id-exceeds-rows", [], files)) == ["error"]

    def test_the_pad_token_is_told_once(self) -> None:
        files = with_tokens("<new_pad>") | {"tokenizer_config.json": {"pad_token": "<new_pad>"}}
        assert not found_for("id-exceeds-rows", [], files)
        assert severities(found_for("pad-out-of-range", [], files)) == ["error"]

    def test_without_weights_vocab_size_says_it(self) -> None:
        [finding] = found_for("id-exceeds-rows", [], with_tokens("<sep>") | {"model.safetensors": "null"})
        assert "expected every id below 320 (vocab_size in config.json)" in finding.message

    def test_rows_beyond_the_tokenizer_are_padding(self) -> None:
        rows = {"model.embed_tokens.weight": ["BF16", [384, 64], "normal"]}
        assert not found_for("id-exceeds-rows", [], {"tensors.json": rows, "config.json": {"vocab_size": 384}})


class TestPadOutOfRange:
    @pytest.mark.parametrize("patch", [{"config": {"pad_token_id": 320}}, {"generation_config": {"pad_token_id": -2}}])
    def test_an_id_without_a_row(self, patch: dict[str, Any]) -> None:
        [finding] = found("pad-out-of-range", **patch)
        assert (str(finding.severity), finding.at) == ("error", "/pad_token_id")
        assert "expected one from 0 to 319 (the rows of model.embed_tokens.weight)" in finding.message

    def test_llama_1_said_none_by_minus_one(self) -> None:
        files = {"config.json": {"pad_token_id": -1}}
        assert severities(found_for("pad-out-of-range", [], files)) == ["warning"]
        assert severities(found_for("pad-out-of-range", ["llama.cpp"], files)) == ["error"]

    def test_of_two_vocabularies_the_larger_counts(self) -> None:
        """Sesame's speech model: 2051 at the root, 128256 in the text part."""
        files = {"config.json": {"vocab_size": 100, "text_config": {"vocab_size": 320}, "pad_token_id": 319},
                 "model.safetensors": "null"}  # fmt: skip
        assert not found_for("pad-out-of-range", [], files)

    def test_null_and_zero_are_fine(self) -> None:
        assert not found("pad-out-of-range", config={"pad_token_id": None})
        assert not found("pad-out-of-range", config={"pad_token_id": 0})
