"""SentencePiece's BPE, which a GGUF holds as pieces and scores, in the words of tokenizer.json: as merges.

SentencePiece joins whichever neighbours make the piece of the highest score, llama.cpp does the same. tokenizer.json
lists pairs instead: each way to cut a piece in two pieces, in the order of the scores. That order, for pieces of one
score too, is the one of the tokenizer.json files published for Gemma 3 and Mistral, to the last of 500,000 pairs
(tests/slow/test_real_gguf.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import Any

from modelcheck.sources.gguf_types import BYTE, NORMAL, UNKNOWN, USER_DEFINED

SPACE = "\u2581"
# What SentencePiece gives to the pieces that a user defined; llama.cpp's converter writes -1000 for it.
USER_SCORE = 0.0
# Gemma's 262,000 pieces have 1.8 million characters and 515,000 pairs; its longest piece has 31.
LONGEST, MOST_CHARACTERS, MOST_MERGES = 256, 1 << 24, 1 << 21


def spelled(token: str, kind: int) -> str:
    """A piece as tokenizer.json has it: the converter writes runs of spaces that a user defined as plain spaces."""
    return SPACE * len(token) if kind == USER_DEFINED and token and not token.strip(" ") else token


def parts(tokens: Sequence[str], kinds: Sequence[int], scores: Sequence[float], *, prefixed: bool) -> dict[str, Any]:
    """Normalizer, decoder and model. `prefixed`: a text gets a space before it, as does what follows a special token.

    `tokens` are as `spelled`; those of no kind named here have ids, and nothing is joined to them.
    """
    listed = list(zip(tokens, kinds, scores, strict=True))
    pieces = {
        token: USER_SCORE if kind == USER_DEFINED else score
        for token, kind, score in listed
        if kind in (NORMAL, USER_DEFINED)
    }
    to_space = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    from_space = {"type": "Replace", "pattern": {"String": SPACE}, "content": " "}
    before = [{"type": "Prepend", "prepend": SPACE}] if prefixed else []
    after = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prefixed else []
    return {
        "normalizer": {"type": "Sequence", "normalizers": [*before, to_space]},
        "pre_tokenizer": None,
        "decoder": {"type": "Sequence", "decoders": [from_space, {"type": "ByteFallback"}, {"type": "Fuse"}, *after]},
        "model": {
            "type": "BPE",
            "unk_token": next((token for token, kind, _ in listed if kind == UNKNOWN), None),
            "fuse_unk": True,
            "byte_fallback": any(kind == BYTE for kind in kinds),
            "merges": merges(pieces),
        },
    }


def merges(pieces: Mapping[str, float]) -> list[tuple[str, str]]:
    """The pairs of pieces that make a piece, the first to be joined first; `pieces` have scores.

    Raises ValueError for more than any model has. A piece beyond all lengths is found whole or not at all.
    """
    if sum(map(len, pieces)) > MOST_CHARACTERS:
        raise ValueError(f"tokenizer.ggml.tokens has more than {MOST_CHARACTERS} characters")
    found = list(islice(_ordered(pieces), MOST_MERGES + 1))
    if len(found) > MOST_MERGES:
        raise ValueError(f"tokenizer.ggml.tokens can be joined in more than {MOST_MERGES} ways")
    return found


def _ordered(pieces: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    score = pieces.__getitem__
    for _, alike in groupby(sorted(pieces, key=score, reverse=True), score):
        cuts = [cut for piece in alike for cut in _cuts(piece, pieces)]
        cuts.sort(key=lambda cut: (len(cut[0]), len(cut[1])), reverse=True)
        yield from cuts


def _cuts(piece: str, pieces: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    for place in range(1, len(piece) if len(piece) <= LONGEST else 0):
        if (left := piece[:place]) in pieces and (right := piece[place:]) in pieces:
            yield left, right
