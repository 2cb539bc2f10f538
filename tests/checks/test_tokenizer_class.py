"""tokenizer-class-overrides: the class chosen, and the ids that come out, are those of the real AutoTokenizer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import found, found_for, severities

from modelcheck import packs, tables
from modelcheck.fact import NotApplicable
from modelcheck.facts.rebuilt import ORDINARY, SPACED, chosen_class
from modelcheck.resolver import Resolver
from modelcheck.sources.local import LocalFolder
from modelcheck.target import Targets
from modelcheck.testing import write_overlay

ROOT = Path(__file__).parents[2]
CLASSES = sorted(tables.load("tokenizer_classes.json")["pipelines"])
SPLIT = {
    "type": "Sequence",
    "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": r"\S"}, "behavior": "Isolated", "invert": False},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
    ],
}
METASPACE = {"type": "Sequence", "normalizers": [
    {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}  # fmt: skip


def ids(folder: Path) -> list[list[int]]:
    """What our facts say that transformers makes of the probes."""
    facts = Resolver(
        packs.load().facts, {"source": LocalFolder(folder), "target": Targets(), "weights": "none", "renderer": None}
    )
    try:
        tokenizer = facts["rebuilt_tokenizer"].tokenizer
    except NotApplicable:
        tokenizer = facts["tokenizer"]
    return [tokenizer.encode(text) for text in (*ORDINARY, *SPACED)]


@pytest.mark.parametrize("parts", [{"pre_tokenizer": SPLIT}, {"normalizer": METASPACE, "pre_tokenizer": None}])
@pytest.mark.parametrize("model_type", ["llama", "qwen2", "phi3", "gpt2"])
def test_ids_are_those_of_transformers(tmp_path: Path, model_type: str, parts: dict[str, Any]) -> None:
    from transformers import AutoTokenizer

    settings: list[dict[str, Any]] = [{"tokenizer_class": name} for name in (*CLASSES, "LlamaTokenizerFast", None)]
    settings += [{"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": True}]
    settings += [{"tokenizer_class": "LlamaTokenizer", "legacy": value} for value in (True, False)]
    settings += [{"tokenizer_class": "LlamaTokenizer", "add_prefix_space": False}]
    compared = 0
    for i, setting in enumerate(settings):
        overlay = {"tokenizer_config.json": json.dumps(setting), "config.json": json.dumps({"model_type": model_type})}
        folder = write_overlay(tmp_path / str(i), overlay)
        document = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        (folder / "tokenizer.json").write_text(json.dumps(document | parts), encoding="utf-8")
        real = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        try:
            expected = [real.encode(text, add_special_tokens=False) for text in (*ORDINARY, *SPACED)]
        except Exception:  # a class for SentencePiece on bytes without an unknown token
            continue
        compared += 1
        assert ids(folder) == expected, (model_type, setting)
    assert compared >= 6


@pytest.mark.parametrize(
    ("named", "model_type", "byte_level", "chosen"),
    [
        ("GPT2Tokenizer", "llama", True, "GPT2Tokenizer"),
        ("LlamaTokenizerFast", "llama", True, None),
        ("LlamaTokenizer", "llama", False, "LlamaTokenizer"),
        ("LlamaTokenizer", "mistral", False, None),
        ("LlamaTokenizer", "phi3", False, None),
        ("GPT2Tokenizer", "qwen2", True, "Qwen2Tokenizer"),
        ("GPT2Tokenizer", None, True, "GPT2Tokenizer"),
        ("PreTrainedTokenizerFast", "of_its_own", True, "PreTrainedTokenizer"),
        (None, "qwen2", True, "Qwen2Tokenizer"),
        (None, "of_its_own", True, None),
    ],
)
def test_the_class_that_is_chosen(named: str | None, model_type: str, byte_level: bool, chosen: str | None) -> None:
    assert chosen_class(named, model_type, byte_level=byte_level) == chosen


def test_the_tables_are_those_of_the_installed_transformers() -> None:
    import transformers

    table = tables.load("tokenizer_classes.json")["transformers"]
    if transformers.__version__ != table:
        pytest.skip(f"the tables are those of transformers {table}")
    command = [sys.executable, "tools/transformers_tables.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "transformers.json: unchanged\ntokenizer_classes.json: unchanged\n")


class TestSeverity:
    FILES = {"tokenizer_config.json": {"tokenizer_class": "GPT2Tokenizer"}, "tokenizer.json": {"pre_tokenizer": SPLIT}}

    def test_an_error_where_ordinary_texts_are_cut_otherwise(self) -> None:
        [finding] = found_for("tokenizer-class-overrides", [], self.FILES)
        assert severities([finding]) == ["error"]
        assert finding.message.startswith(
            "tokenizer_class is GPT2Tokenizer, which in transformers 5 replaces the pre_tok"
        )
        assert (finding.file, finding.at) == ("tokenizer_config.json", "/tokenizer_class")

    def test_silent_for_who_reads_tokenizer_json_whole(self) -> None:
        for target in ("transformers<5", "vllm==0.10.2", "llama.cpp", "tgi"):
            assert not found_for("tokenizer-class-overrides", [target], self.FILES)
        for target in ("transformers>=5", "vllm==0.33", "trl"):
            assert severities(found_for("tokenizer-class-overrides", [target], self.FILES)) == ["error"]

    def test_the_same_thing_in_other_words_is_fine(self) -> None:
        """ByteLevel with its expression taken out, as some tools save it."""
        assert not found("tokenizer-class-overrides", tokenizer_config={"tokenizer_class": "GPT2Tokenizer"})
        expression = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
        split = {**SPLIT["pretokenizers"][0], "pattern": {"Regex": expression}}  # type: ignore[dict-item]
        apart = {"type": "Sequence", "pretokenizers": [split, SPLIT["pretokenizers"][1]]}
        files = {**self.FILES, "tokenizer.json": {"pre_tokenizer": apart}}
        assert not found_for("tokenizer-class-overrides", [], files)

    def test_a_model_type_that_is_known_to_name_a_wrong_class(self) -> None:
        config = {"model_type": "phi3", "architectures": ["Phi3ForCausalLM"]}
        assert not found_for("tokenizer-class-overrides", [], {**self.FILES, "config.json": config})

    def test_code_of_the_checkpoint_is_not_judged(self) -> None:
        settings = {"tokenizer_class": "GPT2Tokenizer", "auto_map": {"AutoTokenizer": [None, "tok.Mine"]}}
        assert not found_for("tokenizer-class-overrides", [], {**self.FILES, "tokenizer_config.json": settings})
