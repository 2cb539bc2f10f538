"""Small GGUFs, written by the gguf package: the healthy tiny checkpoint, converted, with changes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Packing
from numpy.typing import NDArray

from modelcheck import tiny

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
LAYER = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip
OUTER = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
         "lm_head.weight": "output.weight"}  # fmt: skip
KEYS: Mapping[str, Any] = {
    "llama.vocab_size": tiny.VOCABULARY,
    "llama.context_length": 512,
    "llama.embedding_length": tiny.HIDDEN,
    "llama.feed_forward_length": tiny.INTERMEDIATE,
    "llama.block_count": tiny.LAYERS,
    "llama.attention.head_count": 2,
    "llama.rope.freq_base": 10000.0,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "gpt-2",
    "tokenizer.ggml.eos_token_id": 3,
    "tokenizer.ggml.padding_token_id": 0,
    "tokenizer.ggml.add_bos_token": False,
    "tokenizer.chat_template": tiny.TEMPLATE,
}


def tensors() -> dict[str, NDArray[np.float32]]:
    """The weights of the tiny checkpoint under llama.cpp's names."""
    return {_converted(name): values.copy() for name, values in tiny.tensors().items()}


def _converted(name: str) -> str:
    if name in OUTER:
        return OUTER[name]
    _, _, number, rest = name.split(".", 3)
    return f"blk.{number}.{LAYER[rest.removesuffix('.weight')]}.weight"


def tokens(document: Mapping[str, Any], rows: int) -> dict[str, Any]:
    """The metadata of a byte-level BPE, as llama.cpp's converter writes it: every id of the embedding has a token."""
    specials = {t["id"]: t["content"] for t in document["added_tokens"]}
    texts = {number: token for token, number in document["model"]["vocab"].items()} | specials
    merges = [m if isinstance(m, str) else " ".join(m) for m in document["model"]["merges"]]
    kinds = [CONTROL if i in specials else NORMAL if i in texts else UNUSED for i in range(rows)]
    listed = [texts.get(i, f"[PAD{i}]") for i in range(rows)]
    return {"tokenizer.ggml.tokens": listed, "tokenizer.ggml.token_type": kinds, "tokenizer.ggml.merges": merges}


def pieces(document: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of a SentencePiece BPE, as llama.cpp's converter writes it.

    tokenizer.json has no scores, but merges in their order: as the trainer does, one less for each piece. Llama's runs
    of spaces have -1e9.
    """
    added = {token["id"]: token for token in document["added_tokens"]}
    texts = {number: token for token, number in document["model"]["vocab"].items()}
    texts |= {number: token["content"] for number, token in added.items()}
    joined = (merge if isinstance(merge, list) else merge.split(" ") for merge in document["model"]["merges"])
    made = {left + right: None for left, right in joined}
    ranks = {
        token: -float(rank) for rank, token in enumerate(t for t in made if document["model"]["vocab"][t] not in added)
    }
    keys: dict[str, list[Any]] = {"tokens": [], "token_type": [], "scores": []}
    for number, text in sorted(texts.items()):
        kind = _kind(text, added.get(number), document["model"]["unk_token"])
        score = -1e9 if kind == NORMAL and not text.strip("\u2581") else ranks.get(text, -float(len(texts)))
        keys["tokens"].append(text.replace("\u2581", " ") if kind == USER_DEFINED else text)
        keys["token_type"].append(kind)
        keys["scores"].append(-1000.0 if kind == USER_DEFINED else score)
    return {"tokenizer.ggml.model": "llama", "tokenizer.ggml.pre": "default", "tokenizer.ggml.merges": None} | {
        f"tokenizer.ggml.{key}": values for key, values in keys.items()
    }


def _kind(text: str, added: Mapping[str, Any] | None, unknown: str) -> int:
    if text == unknown:
        return UNKNOWN
    if re.fullmatch("<0x[0-9A-F]{2}>", text):
        return BYTE
    if added:
        return CONTROL if added["special"] or re.fullmatch(r"<unused\d+>", text) else USER_DEFINED
    return NORMAL


def write(
    path: Path,
    keys: Mapping[str, Any] | None = None,
    weights: Mapping[str, NDArray[np.float32]] | None = None,
    packing: Packing = Packing.F32,
    architecture: str = "llama",
) -> Path:
    """The tiny checkpoint as a GGUF; a key of None is left out. Matrices are packed as said, the rest is F32."""
    writer = gguf.GGUFWriter(path, architecture)
    document = json.loads(tiny.tokenizer_json())
    values = {**KEYS, **tokens(document, tiny.VOCABULARY), **(keys or {})}
    for key, value in values.items():
        if isinstance(value, str):
            writer.add_string(key, value)
        elif isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        elif value is not None:
            writer.add_array(key, value)
    for name, array in (tensors() if weights is None else weights).items():
        kind = packing if array.ndim > 1 else Packing.F32
        writer.add_tensor(name, gguf.quants.quantize(array, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
