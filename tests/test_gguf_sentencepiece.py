"""A GGUF whose tokenizer is SentencePiece's: the ids of SentencePiece itself, and the rules on them."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from gguf_files import BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED, tensors, write

import modelcheck
from modelcheck import tiny
from modelcheck.facts.rebuilt import ORDINARY, SPACED
from modelcheck.facts.tokenizer import Tokenizer, load
from modelcheck.report import TargetReport
from modelcheck.sources.gguf import GgufFile
from modelcheck.sources.gguf_header import STEP, Array
from modelcheck.sources.gguf_sentencepiece import LONGEST, merges
from modelcheck.sources.local import LocalFolder

GUIDE = (Path(__file__).parent.parent / "docs" / "guide.md").read_text()
TURNS, RUNS = ["<|im_start|>", "<|im_end|>"], ["\u2581\u2581", "\u2581\u2581\u2581\u2581", "\n\n"]
HARD = (*ORDINARY, *SPACED, "", "\x00\x7f\u0378 \U00013000", "e\u0301 \ufb01", "a\n\n\n\nb", "x" + " " * 9 + "y")


def trained(
    size: int, *, prefixed: bool = True, runs: bool = False, unseen: str = "[^ -~]"
) -> sentencepiece.SentencePieceProcessor:
    """A BPE of our guide, as Llama's and Gemma's are: no normalizing, unknown text as bytes; `unseen` is left out."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(re.sub(unseen, "", line) for line in GUIDE.splitlines()),
        model_writer=model, model_type="bpe", vocab_size=size, byte_fallback=True, control_symbols=TURNS,
        user_defined_symbols=RUNS if runs else [], add_dummy_prefix=prefixed, normalization_rule_name="identity",
        remove_extra_whitespaces=False, split_digits=True, character_coverage=1.0, allow_whitespace_only_pieces=True,
        minloglevel=2,
    )  # fmt: skip
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def keys(model: sentencepiece.SentencePieceProcessor, *, prefixed: bool = True) -> dict[str, Any]:
    """The metadata that llama.cpp's converter writes of it (convert_hf_to_gguf.py, `_create_vocab_sentencepiece`)."""
    rows = []
    for number in range(model.vocab_size()):
        text, score, kind = model.id_to_piece(number), model.get_score(number), NORMAL
        if model.is_unknown(number):
            kind = UNKNOWN
        elif model.is_control(number):
            kind = CONTROL
        elif model.is_byte(number):
            kind = BYTE
        elif text in RUNS:
            text, score, kind = text.replace("\u2581", " "), -1000.0, USER_DEFINED
        rows.append((text, kind, score))
    tokens, kinds, scores = map(list, zip(*rows, strict=True))
    return {
        "tokenizer.ggml.model": "llama", "tokenizer.ggml.pre": "default", "tokenizer.ggml.merges": None,
        "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": kinds, "tokenizer.ggml.scores": scores,
        "tokenizer.ggml.add_space_prefix": prefixed, "tokenizer.ggml.add_bos_token": None,
        "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": tokens.index(TURNS[1]),
        "tokenizer.ggml.unknown_token_id": 0,
    }  # fmt: skip


def made(path: Path) -> Tokenizer:
    source = GgufFile(path)
    return load("tokenizer.json", source.read("tokenizer.json", 0, source.sizes()["tokenizer.json"]).decode())


@pytest.mark.parametrize(
    ("prefixed", "runs"), [(True, False), (False, False), (False, True)], ids=["as Llama", "bare", "as Gemma"]
)
def test_the_ids_are_those_of_sentencepiece(tmp_path: Path, *, prefixed: bool, runs: bool) -> None:
    model = trained(1200, prefixed=prefixed, runs=runs)
    tokenizer = made(write(tmp_path / "m.gguf", keys(model, prefixed=prefixed)))
    # SentencePiece itself takes no control token out of a text.
    for text in (*HARD, *GUIDE.replace("<|im_end|>", "").split("\n\n")):
        assert tokenizer.encode(text) == model.encode(text), text
    assert [tokenizer.token(i) for i in range(1200)] == [model.id_to_piece(i) for i in range(1200)]
    assert tokenizer.encode("a", add_special_tokens=True) == [1, *model.encode("a")]  # llama.cpp adds it unasked


def test_a_special_token_stays_whole_and_begins_anew(tmp_path: Path) -> None:
    model = trained(1200)
    tokenizer = made(write(tmp_path / "m.gguf", keys(model)))
    start, end = map(model.piece_to_id, TURNS)
    assert tokenizer.encode("<|im_start|>user<|im_end|>") == [start, *model.encode("user"), end]


@pytest.fixture(scope="module")
def small() -> dict[str, Any]:
    """As many tokens as the tiny checkpoint has rows."""
    return keys(trained(tiny.VOCABULARY, unseen="[^a-z ]"))


def lint(path: Path, **options: Any) -> TargetReport:
    [report] = modelcheck.lint(path, **options)
    assert (report.error, report.internal) == (None, [])
    return report


def test_a_healthy_one_has_no_findings_and_all_rules_could_be_checked(tmp_path: Path, small: dict[str, Any]) -> None:
    report = lint(write(tmp_path / "m.gguf", small))
    assert report.findings == []
    assert [skipped.slug for skipped in report.skipped] == ["missing-tensor"]


FAULTS: Mapping[str, tuple[dict[str, Any], str]] = {
    "the template writes a BOS too": ({"tokenizer.chat_template": "<s>" + tiny.TEMPLATE}, "double-bos"),
    "pad is eos": ({"tokenizer.ggml.padding_token_id": 4}, "pad-is-eos"),
    "the template's end is no stop": ({"tokenizer.ggml.eos_token_id": 2, "tokenizer.chat_template":
                                       tiny.TEMPLATE.replace(TURNS[1], TURNS[0])}, "terminator-not-eos"),
    "fewer rows than tokens": ({"llama.vocab_size": 321}, "vocab-size-rows"),
}  # fmt: skip


@pytest.mark.parametrize(("changed", "slug"), FAULTS.values(), ids=FAULTS)
def test_the_rules_apply_unchanged(tmp_path: Path, small: dict[str, Any], changed: dict[str, Any], slug: str) -> None:
    assert slug in {finding.slug for finding in lint(write(tmp_path / "m.gguf", small | changed)).findings}


def test_an_untrained_row_of_a_token_in_use_is_found(tmp_path: Path, small: dict[str, Any]) -> None:
    weights = tensors()
    weights["token_embd.weight"][small["tokenizer.ggml.tokens"].index(TURNS[0])] = 0
    found = lint(write(tmp_path / "m.gguf", small, weights)).findings
    assert "untrained-token-used" in {finding.slug for finding in found}


def test_scores_that_are_all_alike_tell_no_order(tmp_path: Path, small: dict[str, Any]) -> None:
    alike = {"tokenizer.ggml.scores": [-1000.0] * tiny.VOCABULARY, "tokenizer.ggml.padding_token_id": 4}
    report = lint(write(tmp_path / "m.gguf", small | alike))
    [reason] = {s.reason for s in report.skipped if s.slug == "id-exceeds-rows"}
    assert reason.startswith("no tokenizer.json can be made of this GGUF's tokenizer")
    assert [finding.slug for finding in report.findings] == ["pad-is-eos"]


def test_pieces_that_can_be_joined_in_no_end_of_ways_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelcheck.sources.gguf_sentencepiece.MOST_MERGES", 1000)
    with pytest.raises(ValueError, match="in more than 1000 ways"):
        merges({"a" * n: 0.0 for n in range(1, LONGEST)})
    assert merges({"a" * n: 0.0 for n in (1, LONGEST, LONGEST + 1)}) == []
    with pytest.raises(ValueError, match="characters"):
        merges({chr(n) * (1 << 20): 0.0 for n in range(65, 65 + 20)})


def test_the_head_of_262144_tokens_is_read_once_and_nothing_of_it_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, keys = 262_144, b""
    tokens = b"".join(struct.pack("<Q", len(t)) + t for t in (f"\u2581t{i}".encode() for i in range(count)))
    arrays = {"tokens": (8, tokens), "scores": (6, bytes(4 * count)), "token_type": (5, bytes(4 * count))}
    for name, (kind, values) in arrays.items():
        key = f"tokenizer.ggml.{name}".encode()
        keys += struct.pack("<Q", len(key)) + key + struct.pack("<IIQ", 9, kind, count) + values
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, len(arrays)) + keys + bytes(8 * STEP))
    head, read = 24 + len(keys), list[int]()
    real = LocalFolder.read

    def counted(folder: LocalFolder, name: str, start: int, stop: int) -> bytes:
        read.append(stop - start)
        return real(folder, name, start, stop)

    monkeypatch.setattr(LocalFolder, "read", counted)
    source = GgufFile(path)
    assert source.sizes()  # what there is is known
    assert sum(read) <= 2 * head
    assert len(read) <= 2 + (head // STEP).bit_length()
    assert not any("values" in vars(value) for value in source._values.values() if isinstance(value, Array))
