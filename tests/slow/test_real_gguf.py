"""The real SmolLM2 GGUF against the safetensors made of it, and real tokenizers through a GGUF and back."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from gguf_files import tokens, write

import modelcheck
from modelcheck.facts.rebuilt import ORDINARY, SPACED
from modelcheck.facts.tokenizer import load
from modelcheck.report import TargetReport
from modelcheck.sources.gguf import GgufFile
from modelcheck.sources.gguf_header import read_head
from modelcheck.sources.local import LocalFolder

pytestmark = pytest.mark.slow

EAGER = "import sys; from gguf import GGUFReader; GGUFReader(sys.argv[1])"
# The `tokenizer.ggml.pre` that llama.cpp's converter gives to each.
PRE = {
    "llama3": "llama-bpe",
    "llama3_1": "llama-bpe",
    "qwen3": "qwen2",
    "gptoss": "gpt-4o",
    "deepseek_v3": "deepseek-v3",
}
# What a conversion to GGUF does not keep: it has one place for RoPE and no files with modes and leftovers.
LOST = {"rope-v5-only"}


def lint(target: Path) -> TargetReport:
    [report] = modelcheck.lint(target)
    return report


def test_it_has_the_findings_of_the_safetensors_made_of_it(cached: Callable[[str], Path]) -> None:
    gguf, folder = lint(cached("smollm2_gguf")), lint(cached("smollm2"))
    said = {(f.slug, f.severity, f.message.partition("; stop id")[0]) for f in folder.findings if f.slug not in LOST}
    files = {"chat_template.jinja": "tokenizer_config.json", "generation_config.json": "config.json"}
    assert {f.slug for f in gguf.findings} == {slug for slug, _, _ in said}
    for slug, severity, message in said:
        for name, instead in files.items():
            message = message.replace(name, instead)  # noqa: PLW2901
        assert any((f.slug, f.severity) == (slug, severity) and f.message.startswith(message) for f in gguf.findings), (
            slug
        )
    assert [f.slug for f in gguf.findings if f.severity is modelcheck.Severity.ERROR] == ["pad-is-eos"]
    assert ([s.slug for s in gguf.skipped], gguf.internal) == (["missing-tensor"], [])


def test_its_head_is_read_faster_than_by_the_package(
    cached: Callable[[str], Path], record_property: Callable[[str, object], None]
) -> None:
    path = cached("smollm2_gguf") / "smollm2.gguf"
    started = time.perf_counter()
    read_head(LocalFolder(path.parent), path.name)
    ours = time.perf_counter() - started
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", EAGER, str(path)], check=True)
    theirs = time.perf_counter() - started
    record_property("figure", f"head of SmolLM2's GGUF: {ours:.3f} s, GGUFReader with its import {theirs:.1f} s")
    assert ours < theirs / 4


@pytest.mark.parametrize(("name", "pre"), PRE.items())
def test_a_real_tokenizer_comes_back_with_the_same_ids(
    tmp_path: Path, cached: Callable[[str], Path], name: str, pre: str
) -> None:
    text = (cached(f"tokenizers/{name}") / "tokenizer.json").read_text()
    original = load("tokenizer.json", text)
    rows = original.size + 128
    keys = {"tokenizer.ggml.pre": pre, "llama.vocab_size": rows, **tokens(json.loads(text), rows)}
    embedding = np.zeros((rows, 32), np.float32)
    source = GgufFile(write(tmp_path / "m.gguf", keys, {"token_embd.weight": embedding}))
    made = load("tokenizer.json", source.read("tokenizer.json", 0, source.sizes()["tokenizer.json"]).decode())
    assert made.size == original.size
    for sample in (*ORDINARY, *SPACED, *(original.token(i) or "" for i in range(0, original.size, 997))):
        assert made.encode(sample) == original.encode(sample)
