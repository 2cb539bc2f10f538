"""Checkpoints with rows that were never trained, and what a plan puts in their place."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from support import proposed, written

from modelcheck import tiny
from modelcheck.edit import SetRows
from modelcheck.mending.proposal import Proposal
from modelcheck.testing import write_overlay

Matrix = NDArray[np.float32]
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
PADDED = 2 * tiny.VOCABULARY
RULES = ["untrained-rows", "untrained-token-used"]


def normal(rows: int = tiny.VOCABULARY, mean: float = 0.0, seed: int = 1) -> Matrix:
    """Rows as training leaves them; `mean` is that of every column, in units of their spread."""
    draw = np.random.default_rng(seed)
    return (0.05 * (draw.normal(0, 1, (rows, tiny.HIDDEN)) + mean)).astype(np.float32)


def checkpoint(
    folder: Path, embedding: Matrix, head: Matrix | None, *, tied: bool = False, dtype: str = "BF16"
) -> Path:
    """The tiny checkpoint with this embedding and unembedding, all of one type."""
    tensors = {**tiny.tensors(), EMBEDDING: embedding} | ({} if head is None else {HEAD: head})
    if head is None:
        del tensors[HEAD]
    write_overlay(folder, {"config.json": json.dumps({"vocab_size": len(embedding), "tie_word_embeddings": tied})})
    (folder / "model.safetensors").write_bytes(tiny.safetensors(tensors, dict.fromkeys(tensors, dtype)))
    return folder


def mended(folder: Path, *, every: bool = True) -> Proposal:
    options = ["all-untrained"] if every else []
    proposal = proposed(folder, unsafe=True, options=options, pedantic=True)
    assert proposal.faults == []
    return proposal


def rows_set(proposal: Proposal) -> dict[str, set[int]]:
    return {edit.tensor: set(edit.rows) for edit in proposal.plan.edits if isinstance(edit, SetRows)}


def notes(proposal: Proposal) -> str:
    return " ".join(note for fix in proposal.plan.fixes for note in fix.notes)


def bits(tensor: torch.Tensor) -> list[bytes]:
    """The rows as they are stored."""
    return [row.view(torch.uint8).numpy().tobytes() for row in tensor]


def told_apart(tmp_path: Path, dtype: str, number: int, mean: float) -> None:
    """Mend padding rows, the hardest: they are known to be unused, and whatever lies close to them is suspected."""
    matrix, head = normal(PADDED, mean), normal(PADDED, mean, seed=2)
    dead = range(PADDED - number, PADDED)
    matrix[list(dead)] = head[list(dead)] = 0
    proposal = mended(checkpoint(tmp_path / "model", matrix, head, dtype=dtype))
    assert rows_set(proposal) == {EMBEDDING: set(dead), HEAD: set(dead)}
    assert [f.message for f in proposal.after.findings if f.slug in RULES] == []
    new = load_file(written(proposal, tmp_path / "mended") / "model.safetensors")
    for name in (EMBEDDING, HEAD):
        assert len(set(bits(new[name]))) == PADDED
