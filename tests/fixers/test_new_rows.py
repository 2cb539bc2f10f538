"""Rows that were never trained, and what is put in their place."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from new_rows import EMBEDDING, HEAD, PADDED, RULES, bits, checkpoint, mended, normal, notes, rows_set, told_apart
from safetensors.torch import load_file, save_file
from support import written
from transformers import AutoModelForCausalLM, AutoTokenizer

from modelcheck import tiny
from modelcheck.edit import SetRows
from modelcheck.facts.embeddings import Embeddings
from modelcheck.facts.files import Files
from modelcheck.facts.tensors import Tensor
from modelcheck.facts.trained_mean import APART, NOISE, _trained_mean
from modelcheck.facts.untrained import Untrained
from modelcheck.output import diff
from modelcheck.sources.local import LocalFolder


class TestTheyAreToldApart:
    @pytest.mark.parametrize(
        ("dtype", "number", "mean"),
        [("BF16", 64, 0), ("BF16", 256, 3), ("BF16", 3, 1), ("F16", 64, 1), ("F16", 256, 0), ("F32", 64, 3)],
    )
    def test_and_lint_finds_them_no_more(self, tmp_path: Path, dtype: str, number: int, mean: float) -> None:
        """The whole grid is in tests/slow/test_new_row_grid.py."""
        told_apart(tmp_path, dtype, number, mean)

    @pytest.mark.parametrize("scale", [1e-4, 1, 100])
    def test_whatever_their_scale(self, tmp_path: Path, scale: float) -> None:
        matrix = normal(mean=1) * np.float32(scale)
        matrix[100:164] = 0
        proposal = mended(checkpoint(tmp_path / "model", matrix, None, tied=True, dtype="F16"))
        assert [f.message for f in proposal.after.findings if f.slug in RULES] == []
        new = load_file(written(proposal, tmp_path / "mended") / "model.safetensors")
        assert len(set(bits(new[EMBEDDING]))) == tiny.VOCABULARY

    def test_reserved_tokens_in_use_are(self, tmp_path: Path) -> None:
        matrix, head = normal(mean=2), normal(mean=2, seed=2)
        matrix[:6] = head[:6] = 0
        proposal = mended(checkpoint(tmp_path / "model", matrix, head), every=False)
        assert rows_set(proposal) == {EMBEDDING: {2, 3}, HEAD: {2, 3}}
        assert [f.message for f in proposal.after.findings if f.slug == "untrained-token-used"] == []


class TestWhatTheyAre:
    def test_the_mean_of_the_trained_rows_and_a_tenth_of_their_spread(self, tmp_path: Path) -> None:
        matrix = normal(PADDED)
        matrix[300:304] = 0
        matrix[tiny.VOCABULARY :] += 9  # padding that somebody filled with something
        trained = np.delete(matrix[: tiny.VOCABULARY], range(300, 304), axis=0)
        proposal = mended(checkpoint(tmp_path / "model", matrix, None, tied=True, dtype="F32"))
        [edit] = [e for e in proposal.plan.edits if isinstance(e, SetRows)]
        noise = np.stack([edit.rows[i] for i in range(300, 304)]) - trained.mean(axis=0)
        spread = np.linalg.norm(trained.std(axis=0))
        assert np.linalg.norm(noise, axis=1) == pytest.approx(NOISE * spread, rel=1e-4)
        assert "noise drawn from the token's id, of 10% of their spread" in notes(proposal)
        assert "nothing has trained it" in notes(proposal)
        assert "trainable_token_indices" in notes(proposal)

    def test_more_noise_where_the_mean_is_long(self, tmp_path: Path) -> None:
        matrix = normal(mean=1)
        matrix[300:304] = 0
        trained = np.delete(matrix, range(300, 304), axis=0)
        proposal = mended(checkpoint(tmp_path / "model", matrix, None, tied=True, dtype="F32"))
        [edit] = [e for e in proposal.plan.edits if isinstance(e, SetRows)]
        noise = np.linalg.norm(edit.rows[300] - trained.mean(axis=0))
        assert noise == pytest.approx(APART * np.linalg.norm(trained.mean(axis=0)), rel=1e-3)

    def test_the_same_each_time(self, tmp_path: Path) -> None:
        matrix = normal()
        matrix[9] = 0
        made = [
            mended(checkpoint(tmp_path / name, matrix, None, tied=True)).plan.changes[0].pieces for name in ("a", "b")
        ]
        assert made[0] == made[1]

    def test_nothing_else_is_written(self, tmp_path: Path) -> None:
        matrix, head = normal(), normal(seed=2)
        matrix[[7, 200]] = head[[7, 200]] = 0
        proposal = mended(checkpoint(tmp_path / "model", matrix, head))
        [change] = proposal.plan.changes
        assert change.patches is not None
        assert [len(content) for _, content in change.patches] == [2 * tiny.HIDDEN] * 4

    def test_where_nothing_is_trained_there_is_no_mean(self, tmp_path: Path) -> None:
        matrix = np.zeros((tiny.VOCABULARY, tiny.HIDDEN), np.float32)
        proposal = mended(checkpoint(tmp_path / "model", matrix, None, tied=True))
        assert rows_set(proposal) == {}
        assert "no trained rows that differ" in " ".join(left.reason for left in proposal.plan.left_out)


class TestWhichMatrix:
    def test_a_row_of_the_head_that_is_its_own_has_been_trained(self, tmp_path: Path) -> None:
        matrix, head = normal(), normal(seed=2)
        matrix[[7, 8, 9]] = 0
        head[7] = 0
        assert rows_set(mended(checkpoint(tmp_path / "model", matrix, head))) == {EMBEDDING: {7, 8, 9}, HEAD: {7}}

    def test_a_stored_copy_of_a_tied_embedding_stays_one(self, tmp_path: Path) -> None:
        matrix = normal()
        matrix[[7, 8]] = 0
        proposal = mended(checkpoint(tmp_path / "model", matrix, matrix.copy(), tied=True))
        new = load_file(written(proposal, tmp_path / "mended") / "model.safetensors")
        assert bits(new[EMBEDDING]) == bits(new[HEAD])
        assert len(set(bits(new[HEAD]))) == tiny.VOCABULARY


class TestIdenticalRows:
    def groups(self, tmp_path: Path, *groups: Collection[int]) -> Path:
        matrix = normal()
        for first, *others in groups:
            matrix[others] = matrix[first]
        return checkpoint(tmp_path / "model", matrix, normal(seed=2))

    def test_the_one_that_the_others_may_be_copies_of_is_left(self, tmp_path: Path) -> None:
        proposal = mended(self.groups(tmp_path, [300, 310, 311], [4, 5, 290]))
        assert rows_set(proposal) == {EMBEDDING: {310, 311, 4, 5}}  # 290 is a word, 4 and 5 are added tokens
        assert "may be copies of it: 290, 300" in notes(proposal)
        assert [f.message for f in proposal.after.findings if f.slug in RULES] == []

    def test_a_stop_token_that_another_was_copied_from_keeps_its_row(self, tmp_path: Path) -> None:
        proposal = mended(self.groups(tmp_path, [3, 5]), every=False)
        assert rows_set(proposal) == {EMBEDDING: {5}}
        assert [f.message for f in proposal.after.findings if f.slug == "untrained-token-used"] == []

    def test_one_that_was_copied_from_a_word_gets_a_row(self, tmp_path: Path) -> None:
        assert rows_set(mended(self.groups(tmp_path, [200, 3]), every=False)) == {EMBEDDING: {3}}


def test_rows_that_are_only_near_unused_ones_are_never_touched(tmp_path: Path) -> None:
    matrix = normal(PADDED, mean=1)
    close = matrix[0] + 0.05 * normal(64, seed=3)
    matrix[PADDED - 60 :] = close[:60]
    matrix[2:6] = close[60:]
    proposal = mended(checkpoint(tmp_path / "model", matrix, None, tied=True))
    assert {f.confidence.name for f in proposal.before.findings if f.slug in RULES} == {"MEDIUM"}
    assert proposal.plan.changes == []
    assert "is a hint, no proof" in " ".join(left.reason for left in proposal.plan.left_out)


@pytest.mark.parametrize("prefix", ["module.", ""], ids=["after their tensor is renamed", "after its file is found"])
def test_rows_are_set_once_another_fix_allows_it(tmp_path: Path, prefix: str) -> None:
    folder = checkpoint(tmp_path / "model", normal(), normal(seed=2))
    tensors = {prefix + name: tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    tensors[prefix + EMBEDDING][4:6] = 0
    save_file(tensors, folder / "model.safetensors")
    if not prefix:
        (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
        told = {"weight_map": dict.fromkeys(tensors, "weights.safetensors")}
        (folder / "model.safetensors.index.json").write_text(json.dumps(told))
    proposal = mended(folder)
    assert rows_set(proposal) == {EMBEDDING: {4, 5}}
    assert f"{EMBEDDING}: 2 rows\n    row 4 '<|reserved_0|>': norm " in diff.render(proposal)
    [file] = written(proposal, tmp_path / "mended").glob("*.safetensors")
    new = load_file(file)[EMBEDDING]
    assert len(set(bits(new))) == tiny.VOCABULARY


def test_the_mended_checkpoint_loads_and_generates(tmp_path: Path) -> None:
    matrix, head = normal(), normal(seed=2)
    matrix[:64] = head[:64] = 0
    folder = written(mended(checkpoint(tmp_path / "model", matrix, head)), tmp_path / "mended")
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    chat = [{"role": "user", "content": "the model reads a text"}]
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    made = model.generate(**ids, max_new_tokens=8, min_new_tokens=8, do_sample=False)
    assert made.shape[1] == ids["input_ids"].shape[1] + 8
    assert torch.isfinite(model(**ids).logits).all()


def test_memory_is_flat(tmp_path: Path, record_property: Callable[[str, str], None]) -> None:
    rows, width = 16384, 1024
    (tmp_path / "data").write_bytes(np.random.default_rng(0).normal(0, 1, rows * width).astype(np.float32).tobytes())
    tensor = Tensor("embed", "F32", (rows, width), "data", 0, rows * width * 4)
    matrix = Embeddings(Files(LocalFolder(tmp_path)), tensor)
    assert len(matrix.scan.norms) == rows
    nothing: Any = frozenset[int]()
    tracemalloc.start()
    found = _trained_mean(matrix, Untrained(nothing, (), nothing, rows, None, 1.0), nothing)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.allclose(found.spread, 1, atol=0.05)
    assert peak < 32 << 20  # three blocks of reading ahead
    record_property("figure", f"mean and spread of a {rows * width * 4 / 1e6:.0f} MB embedding: {peak / 1e6:.1f} MB")
