"""tokenizer-class-overrides on real tokenizers whose class is swapped: ids as AutoTokenizer's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import modelcheck

pytestmark = pytest.mark.slow

# Measured with transformers 5.23 on texts of our own: which class changes the ids of which tokenizer.
BREAKS = {
    "GPT2Tokenizer": {"llama3_1", "qwen3", "gptoss", "deepseek_v3"},
    "Qwen2Tokenizer": {"llama3_1", "gptoss", "deepseek_v3"},
    "LlamaTokenizerFast": set(),
    "PreTrainedTokenizerFast": set(),
}


@pytest.mark.parametrize("name", ["llama3_1", "qwen3", "gptoss", "deepseek_v3"])
def test_the_classes_that_change_ids(cached: Callable[[str], Path], tmp_path: Path, name: str) -> None:
    folder = cached(f"tokenizers/{name}")
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    (tmp_path / "tokenizer.json").symlink_to(folder / "tokenizer.json")
    for tokenizer_class, broken in BREAKS.items():
        text = json.dumps(settings | {"tokenizer_class": tokenizer_class})
        (tmp_path / "tokenizer_config.json").write_text(text, encoding="utf-8")
        found = modelcheck.lint(tmp_path, select=["tokenizer-class-overrides"]).findings
        assert [str(f.severity) for f in found] == (["error"] if name in broken else []), tokenizer_class
