"""A checkpoint with a SentencePiece model and no tokenizer.json: transformers converts it in a process of its own."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import sentencepiece

import modelcheck
from modelcheck.facts import conversion

TEXT = ["the model reads a text and writes the next token", "a checkpoint holds the weights and the tokenizer"] * 40


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT),
        model_writer=model,
        vocab_size=300,
        model_type="bpe",
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    (tmp_path / "tokenizer.model").write_bytes(model.getvalue())
    names = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "add_bos_token": True}
    template = "{{ bos_token }}{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}"
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**names, "chat_template": template}))
    (tmp_path / "config.json").write_text('{"model_type": "llama", "eos_token_id": 2}')
    return tmp_path


def test_rules_see_the_converted_tokenizer(folder: Path) -> None:
    report = modelcheck.lint(folder, select=["tokenizer"])
    assert {f.slug for f in report.findings} == {"double-bos", "pad-missing"}


def test_without_transformers_it_could_not_check(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, "find_spec", lambda name: None)
    [report] = modelcheck.lint(folder, select=["double-bos"])
    [skipped] = report.skipped
    assert "transformers, which can convert it, is not installed" in skipped.reason
    assert "pip install" in skipped.reason


def test_what_transformers_refuses_could_not_be_checked(folder: Path) -> None:
    (folder / "tokenizer.model").write_bytes(b"no model")
    [report] = modelcheck.lint(folder, select=["double-bos"])
    assert "transformers cannot convert it" in report.skipped[0].reason
    assert report.internal == []
