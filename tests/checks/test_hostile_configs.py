"""Values of every wrong kind under the keys that the rules on configs and serving read: no rule of ours crashes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest

from modelcheck import engine
from modelcheck.render.renderer import Renderer
from modelcheck.testing import lint_overlay

SAMPLE: list[Any] = [-1, 10**400, ["x", 3], {"a": {"b": None}}]
WRONG: list[Any] = [*SAMPLE, None, True, 1.5, "x" * 500, [], [[]], {}, "\ud800", ""]
NOT_FINITE = ["1e999", "-Infinity", "NaN"]
IN_ROPE = ("type", "rope_type", "factor", "rope_theta", "short_factor", "partial_rotary_factor", "full_attention")
KEYS = {
    "config.json": (
        *("architectures", "model_type", "auto_map", "rope_scaling", "rope_parameters", "rope_theta", "head_dim"),
        *("sliding_window", "use_cache", "hidden_act", "vocab_size", "pad_token_id", "eos_token_id", "vision_config"),
        *("partial_rotary_factor", "qk_rope_head_dim", "tokenizer_class", "text_config", "num_attention_heads"),
    ),
    "generation_config.json": ("temperature", "top_p", "top_k", "max_new_tokens", "do_sample", "eos_token_id"),
    "tokenizer_config.json": ("tokenizer_class", "add_prefix_space", "legacy", "auto_map", "chat_template"),
}
FAMILIES = ["CFG", "SRV", "TOK006", "TOK007", "TOK008", "TPL008"]


@pytest.fixture(scope="module", autouse=True)
def _one_renderer_for_all() -> Iterator[None]:
    with Renderer() as renderer, pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "Renderer", lambda: nullcontext(renderer))
        yield


def crashes(file: str, text: str) -> list[str]:
    [report] = lint_overlay({file: text}, select=FAMILIES, target=["vllm", "transformers<5"])
    return report.internal


@pytest.mark.parametrize(("file", "key"), [(file, key) for file, keys in KEYS.items() for key in keys])
def test_a_key_may_hold_anything(file: str, key: str) -> None:
    for text in (*map(json.dumps, SAMPLE), *NOT_FINITE[:1]):
        assert crashes(file, f'{{"{key}": {text}}}') == [], text


@pytest.mark.slow
@pytest.mark.parametrize(("file", "key"), [(file, key) for file, keys in KEYS.items() for key in keys])
def test_any_kind_of_value(file: str, key: str) -> None:
    for text in (*map(json.dumps, WRONG), *NOT_FINITE):
        assert crashes(file, f'{{"{key}": {text}}}') == [], text


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["longrope", "yarn", "default", "mrope", ["longrope"]])
@pytest.mark.parametrize("key", IN_ROPE)
def test_so_may_the_parameters_of_rope(kind: Any, key: str) -> None:
    rope = {"rope_type": kind, "short_factor": [1.0], "long_factor": [1.0]}
    for value in WRONG:
        assert crashes("config.json", json.dumps({"rope_parameters": {**rope, key: value}})) == [], value
