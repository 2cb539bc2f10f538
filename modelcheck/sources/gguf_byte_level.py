"""Byte-level BPE: how a text is cut before bytes are joined, by the name that a GGUF gives to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
GPT2 = BYTE_LEVEL | {"use_regex": True}
CONTRACTED = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
TAIL = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CAPITALS, SMALL = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


def _split(*patterns: str) -> dict[str, Any]:
    cuts = [{"type": "Split", "pattern": {"Regex": p}, "behavior": "Isolated", "invert": False} for p in patterns]
    return {"type": "Sequence", "pretokenizers": [*cuts, BYTE_LEVEL]}


DIGITS = {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, GPT2]}
LLAMA3 = _split(rf"{CONTRACTED}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{TAIL}")
QWEN2 = _split(rf"{CONTRACTED}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{TAIL}")
QWEN35 = _split(
    rf"{CONTRACTED}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
GPT4O = _split(
    rf"[^\r\n\p{{L}}\p{{N}}]?{CAPITALS}*{SMALL}+{CONTRACTED}?|[^\r\n\p{{L}}\p{{N}}]?{CAPITALS}+{SMALL}*"
    rf"{CONTRACTED}?|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEKKEN = _split(
    rf"[^\r\n\p{{L}}\p{{N}}]?{CAPITALS}*{SMALL}+|[^\r\n\p{{L}}\p{{N}}]?{CAPITALS}+{SMALL}*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DEEPSEEK3 = _split(
    r"\p{N}{1,3}",
    "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
)
# Names of one way to cut, as llama.cpp groups them (llama-vocab.cpp, `tokenizer_pre`).
LLAMA3_NAMES = ("llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2")
ALIKE: Mapping[str, Mapping[str, Any]] = {
    "gpt-2": GPT2,
    "smollm": DIGITS,
    f"{' '.join(LLAMA3_NAMES)} dbrx smaug-bpe": LLAMA3,
    "qwen2 deepseek-r1-qwen kormo f2llmv2 megrez": QWEN2,
    "qwen35": QWEN35,
    "gpt-4o llama4 kanana2": GPT4O,
    "tekken": TEKKEN,
    "deepseek-v3": DEEPSEEK3,
}
# {tokenizer.ggml.pre: how texts are cut}, as in the tokenizer.json of the models that each is named after: those that
# tests/slow can hold to the original, id for id, or to transformers' own reading of a GGUF.
PRE_TOKENIZERS = {name: way for names, way in ALIKE.items() for name in names.split()}
WHOLE_WORDS_FIRST = frozenset({*LLAMA3_NAMES, "gpt-4o", "llama4", "tekken"})
ADDS_BOS = frozenset({*LLAMA3_NAMES, "tekken"})
COMPOSED = frozenset({"qwen2", "qwen35"})


def parts(pre: str, merges: list[str]) -> dict[str, Any]:
    """Normalizer, pre-tokenizer, decoder and model of a GGUF whose texts are cut as `pre` says."""
    return {
        "normalizer": {"type": "NFC"} if pre in COMPOSED else None,
        "pre_tokenizer": PRE_TOKENIZERS[pre],
        "decoder": BYTE_LEVEL,
        "model": {"type": "BPE", "ignore_merges": pre in WHOLE_WORDS_FIRST, "merges": merges},
    }
