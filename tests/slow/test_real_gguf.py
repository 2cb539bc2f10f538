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
from gguf_files import pieces, tokens, write

import modelcheck
from modelcheck.facts.rebuilt import ORDINARY, SPACED
from modelcheck.facts.tokenizer import Tokenizer, load
from modelcheck.report import TargetReport
from modelcheck.sources.gguf import GgufFile
from modelcheck.sources.gguf_byte_level import PRE_TOKENIZERS, parts
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
# What tells the two conversions of SentencePiece apart: Mistral's, which npm calls Llama 2's, and Gemma's.
PREFIXED = {"llama2": True, "gemma3": False}
FRAMES = ("<s>", "<bos>")
# Bytes without a piece, what is composed, added tokens next to spaces and to each other.
HARD = (
    "",
    "\x00\x01\x7f\u0378 \U0001f9ff\U00013000 \ua66e \ufdfa",
    "e\u0301 \u00e9 \ufb01 \u2167",
    "\u2581\u2581 \u2581a",
    "\r\n\r\n \r",
    "<s>hi</s> there <bos>x<eos>  y<unused3>z<unk>q<table><tr>",
    "[multimodal]<mask>x<end_of_turn>\n<start_of_turn>",
)
RUNS = tuple(f"a{letter * count}b" for letter in " \n\t" for count in range(1, 70))
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


def made(path: Path) -> Tokenizer:
    source = GgufFile(path)
    return load("tokenizer.json", source.read("tokenizer.json", 0, source.sizes()["tokenizer.json"]).decode())


@pytest.fixture(scope="module", params=PREFIXED)
def sentencepiece(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, cached: Callable[[str], Path]
) -> tuple[Path, Path]:
    """The folder of a real tokenizer, and the GGUF of it."""
    architecture = "llama" if request.param == "llama2" else request.param
    folder = cached(f"tokenizers/{request.param}")
    text = (folder / "tokenizer.json").read_text()
    original = load("tokenizer.json", text)
    [bos] = [original.id(token) for token in FRAMES if token in original.special.values()]
    keys = {
        **pieces(json.loads(text)),
        f"{architecture}.vocab_size": original.size,
        "tokenizer.ggml.bos_token_id": bos,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_space_prefix": PREFIXED[request.param],
    }
    path = tmp_path_factory.mktemp(request.param) / "m.gguf"
    weights = {"token_embd.weight": np.zeros((original.size, 32), np.float32)}
    return folder, write(path, keys, weights, architecture=architecture)


def test_sentencepiece_comes_back_with_the_same_ids(sentencepiece: tuple[Path, Path]) -> None:
    folder, gguf = sentencepiece
    original, tokenizer = load("tokenizer.json", (folder / "tokenizer.json").read_text()), made(gguf)
    assert [tokenizer.token(i) for i in range(original.size)] == [original.token(i) for i in range(original.size)]
    for sample in (*ORDINARY, *SPACED, *HARD, *RUNS, *(original.token(i) or "" for i in range(0, original.size, 97))):
        for framed in (False, True):
            assert tokenizer.encode(sample, add_special_tokens=framed) == original.encode(
                sample, add_special_tokens=framed
            ), sample
        assert tokenizer.back(sample) == original.back(sample)


def test_gemmas_merges_are_its_own_to_the_last(sentencepiece: tuple[Path, Path]) -> None:
    folder, gguf = sentencepiece
    source = GgufFile(gguf)
    ours = json.loads(source.read("tokenizer.json", 0, source.sizes()["tokenizer.json"]))["model"]["merges"]
    theirs = json.loads((folder / "tokenizer.json").read_text())["model"]["merges"]
    pairs = [merge if isinstance(merge, list) else merge.split(" ") for merge in theirs]
    # Mistral's file has the pairs of one piece in another order, which its ids do not tell.
    assert ours == pairs if folder.name == "gemma3" else sorted(ours) == sorted(pairs)


@pytest.mark.parametrize("sentencepiece", ["llama2"], indirect=True)  # transformers takes 16 s for Gemma's
def test_transformers_reads_the_same_out_of_the_gguf_and_takes_longer(
    sentencepiece: tuple[Path, Path], record_property: Callable[[str, object], None]
) -> None:
    from transformers import AutoTokenizer

    folder, gguf = sentencepiece
    started = time.process_time()
    ours = made(gguf)
    between = time.process_time()
    theirs = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    taken = between - started, time.process_time() - between
    record_property("figure", f"{folder.name} out of a GGUF, CPU: {taken[0]:.1f} s, transformers {taken[1]:.1f} s")
    assert taken[0] < taken[1]
    # Before a space transformers adds no other one, and it cuts long runs otherwise, unlike the models' tokenizer.json.
    for sample in (s for s in (*ORDINARY, *SPACED, *HARD) if "<" not in s and not s.startswith((" ", "\u2581"))):
        assert theirs(sample)["input_ids"] == ours.encode(sample, add_special_tokens=True), (folder.name, sample)


def test_texts_are_cut_as_transformers_cuts_them() -> None:
    from tokenizers import Regex, pre_tokenizers
    from tokenizers import Tokenizer as Backend
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    common = sorted({*GGUF_PRE_TOKENIZER_SPLITS} & {*PRE_TOKENIZERS})
    assert len(common) > 15
    for name in common:
        bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        split = pre_tokenizers.Split(Regex(GGUF_PRE_TOKENIZER_SPLITS[name]), behavior="isolated")
        theirs = pre_tokenizers.Sequence([split, bytes_])
        document = {"added_tokens": [], **parts(name, [])}
        document["model"]["vocab"] = {}
        ours = Backend.from_str(json.dumps(document)).pre_tokenizer
        for sample in (*ORDINARY, *SPACED, *HARD):
            assert ours.pre_tokenize_str(sample) == theirs.pre_tokenize_str(sample), (name, sample)
