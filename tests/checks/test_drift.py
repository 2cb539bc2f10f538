"""The traps of the rules that hold a tuned checkpoint against its base: what saving changes, and what it must not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from support import severities

from modelcheck import tiny
from modelcheck.finding import Finding
from modelcheck.report import TargetReport
from modelcheck.testing import lint_overlay

DRIFT = ("config-drift", "generation-drift", "tokenizer-drift", "template-drift")
SAME: Mapping[str, Any] = {"base/config.json": {}}
RENDERS_THE_SAME = """\
{%- for m in messages %}
  {{- '<|im_start|>' + m.role + '\\n' }}
  {%- generation %}{{- m.content + '<|im_end|>' + '\\n' }}{% endgeneration %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
"""
OTHER = RENDERS_THE_SAME.replace("{%- for m", "{{- 'Be kind. ' }}{%- for m", 1)
BOS_FIRST = "{{ bos_token }}" + RENDERS_THE_SAME
TOKENS = json.loads(tiny.files()["tokenizer.json"])["added_tokens"]
NEW = {**TOKENS[0], "id": 320, "content": "<|tool|>"}

# As a trainer and transformers 5 leave them.
EXPECTED: Mapping[str, Mapping[str, Any]] = {
    "another library saved the config": {
        "config.json": {"transformers_version": "5.99.0", "use_cache": False, "torch_dtype": "float16", "_x": 1}
    },
    "defaults were filled in": {"config.json": {"attention_bias": False, "pretraining_tp": 1, "mlp_bias": False}},
    "a nested setting is written alike": {
        "config.json": {"vision_config": {"hidden_size": 32.0}},
        "base/config.json": {"vision_config": {"hidden_size": 32}},
    },
    "a window that is off": {
        "config.json": {"use_sliding_window": False, "sliding_window": 0},
        "base/config.json": {"use_sliding_window": False, "sliding_window": 32768},
    },
    "token ids were filled in": {
        "generation_config.json": {"bos_token_id": 1, "eos_token_id": [3, 4]},
        "config.json": {"bos_token_id": 1},
    },
    "defaults of sampling are written out": {"generation_config.json": {"top_k": 50, "do_sample": False}},
    "sampling moved out of the config": {
        "generation_config.json": {"temperature": 0.6},
        "base/config.json": {"temperature": 0.6},
        "base/generation_config.json": "null",
    },
    "neither has a generation_config": {"generation_config.json": "null", "base/generation_config.json": "null"},
    "the template moved to a file of its own": {"chat_template.jinja": RENDERS_THE_SAME},
    "the base has no template": {
        "chat_template.jinja": OTHER,
        "base/tokenizer_config.json": {"chat_template": None},
    },
    "the base leaves pad and bos open": {
        "tokenizer_config.json": {"pad_token": "<|pad|>", "bos_token": "<|bos|>"},
        "base/tokenizer_config.json": {"pad_token": None},
    },
    "a pad token that was mended": {
        "tokenizer_config.json": {"pad_token": "<|pad|>"},
        "base/tokenizer_config.json": {"pad_token": "<|im_end|>"},
    },
    "the base names its tokens in special_tokens_map.json": {
        "chat_template.jinja": "{# ours #}" + BOS_FIRST,
        "tokenizer_config.json": {"bos_token": "<|bos|>"},
        "base/chat_template.jinja": BOS_FIRST,
        "base/special_tokens_map.json": {"bos_token": "<|bos|>"},
    },
    "the base names its tokens nowhere": {"base/tokenizer_config.json": "null"},
    "keys of transformers 5": {"tokenizer_config.json": {"backend": "tokenizers", "is_local": True, "local_only": 0}},
    "a token was added": {"tokenizer.json": {"added_tokens": [*TOKENS, NEW]}},
    "components are written otherwise": {
        "tokenizer.json": {"pre_tokenizer": {"trim_offsets": False}, "decoder": {"use_regex": False}}
    },
}  # fmt: skip


def linted(files: Mapping[str, Any]) -> TargetReport:
    texts = {name: part if isinstance(part, str) else json.dumps(part) for name, part in {**SAME, **files}.items()}
    [report] = lint_overlay(texts, select=DRIFT)
    assert report.internal == []
    return report


def drift(files: Mapping[str, Any]) -> list[Finding]:
    report = linted(files)
    assert report.skipped == []
    return report.findings


@pytest.mark.parametrize("files", EXPECTED.values(), ids=EXPECTED)
def test_what_saving_changes_is_silent(files: Mapping[str, Any]) -> None:
    assert drift(files) == []


SUSPICIOUS: Mapping[str, tuple[str, Mapping[str, Any], str, str]] = {
    "a setting nobody knows": ("config-drift", {"config.json": {"zt_window": 3}, "base/config.json": {"zt_window": 4}},
                               "/zt_window", "zt_window is 3, expected 4 as in the base"),
    "sampling": ("generation-drift", {"generation_config.json": {"temperature": 1.5}},
                 "/temperature", "temperature is 1.5, expected 1.0 as in the base"),
    "the file is gone": ("generation-drift", {"generation_config.json": "null"}, "",
                         "generation_config.json is not there"),
    "a stop id is gone": ("generation-drift", {"base/generation_config.json": {"eos_token_id": [3, 4]}},
                          "/eos_token_id", "eos_token_id is [3], the base stops at [4] too"),
    "another EOS": ("tokenizer-drift", {"tokenizer_config.json": {"eos_token": "<|reserved_0|>"}},
                    "/eos_token", "eos_token is '<|reserved_0|>', expected '<|im_end|>' as in the base"),
    "a normalizer": ("tokenizer-drift", {"tokenizer.json": {"normalizer": {"type": "Lowercase"}}},
                     "", "\"Hello World, isn't it"),
    "a template that says more": ("template-drift", {"chat_template.jinja": OTHER}, "",
                                  "the chat template renders 'user' with 'Be kind. <|im_start|>"),
    "a template that is gone": ("template-drift", {"tokenizer_config.json": {"chat_template": None}}, "/chat_template",
                                "the chat template of the base does not render 'user' here"),
}  # fmt: skip


# What nobody means to do; the others may have been meant, by whoever makes a chat model of a plain one.
SURELY_NOT = ("the file is gone", "a stop id is gone", "a normalizer", "a template that is gone")


@pytest.mark.parametrize("case", SUSPICIOUS)
def test_what_training_does_not_change_is_told(case: str) -> None:
    slug, files, at, says = SUSPICIOUS[case]
    found = drift(files)
    assert severities(found) == ["warning" if case in SURELY_NOT else "info"]
    assert found[0].slug == slug
    assert (found[0].at or "") == at
    assert found[0].message.startswith(says)


def test_a_setting_that_decides_what_tensors_compute_is_a_warning() -> None:
    sides = {"config.json": "relu", "base/config.json": "silu"}
    [found] = drift({name: {"vision_config": {"hidden_act": act}} for name, act in sides.items()})
    assert (str(found.severity), found.at) == ("warning", "/vision_config/hidden_act")


def test_a_reserved_token_may_be_given_another_name() -> None:
    sides = {"tokenizer.json": "<|call|>", "base/tokenizer.json": "<|tool|>"}
    [found] = drift({file: {"added_tokens": [*TOKENS, {**NEW, "content": name}]} for file, name in sides.items()})
    assert (str(found.severity), found.at) == ("info", "/added_tokens")
    assert found.message.startswith("1 special tokens of the base are not there ('<|tool|>')")


def test_a_token_under_another_id_is_an_error() -> None:
    [found] = drift({"tokenizer.json": {"model": {"vocab": {"a": 71, "b": 70}}}})
    assert str(found.severity) == "error"
    said = "2 tokens of the base have another id or none ('a', 'b'): 'a' is id 71, expected id 70: "
    assert found.message.startswith(said)


UNUSABLE: Mapping[str, tuple[str, str, set[str], str]] = {
    "config": ("base/config.json", "{", {"config-drift", "generation-drift"}, "config.json: is not JSON"),
    "no config": ("base/config.json", "null", {"config-drift", "generation-drift"}, "there is no config.json"),
    "tokenizer": ("base/tokenizer.json", "{", {"tokenizer-drift"}, "tokenizer.json: the tokenizers library refuses it"),
    "special tokens": ("base/tokenizer_config.json", "[", {"tokenizer-drift", "template-drift"}, "tokenizer_config"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNUSABLE)
def test_what_the_base_has_wrong_is_said_of_the_base(case: str) -> None:
    file, content, slugs, reason = UNUSABLE[case]
    report = linted({file: content})
    assert report.findings == []
    assert {skipped.slug for skipped in report.skipped} == slugs
    assert {skipped.reason.startswith(f"in the base, {reason}") for skipped in report.skipped} == {True}
