"""Checkpoints to measure on: one of Llama-3.1-8B's size without its weights, and an embedding of its size."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from math import prod
from pathlib import Path

import numpy as np
from measure import ROOT

sys.path.append(str(ROOT / "tools"))
import fetch

# The real one: 128,256 tokens and the chat template.
TOKENIZER = "llama3_1"
VOCABULARY, HIDDEN, INTERMEDIATE, LAYERS, SHARDS = 128256, 4096, 14336, 32, 4
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "intermediate_size": INTERMEDIATE,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "hidden_act": "silu",
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-05,
    "rope_theta": 500000.0,
    "rope_scaling": {
        "factor": 8.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    },
    "tie_word_embeddings": False,
    "bos_token_id": 128000,
    "eos_token_id": [128001, 128008, 128009],
    "torch_dtype": "bfloat16",
}
GENERATION_CONFIG = {"bos_token_id": 128000, "eos_token_id": [128001, 128008, 128009], "do_sample": True}


def llama(folder: Path, tokenizer: Path | None) -> Path:
    """Llama-3.1-8B without its weights: tokenizer, template, configs, and shards that are headers and holes.

    `tokenizer` is a folder that holds tokenizer.json and tokenizer_config.json; without one, it is that of the slow
    tests, which is fetched once.
    """
    folder.mkdir(parents=True, exist_ok=True)
    source = tokenizer or _fetched()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(source / name, folder / name)
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=2))
    (folder / "generation_config.json").write_text(json.dumps(GENERATION_CONFIG, indent=2))
    names = list(_tensors())
    weight_map: dict[str, str] = {}
    for number in range(SHARDS):
        shard = f"model-{number + 1:05}-of-{SHARDS:05}.safetensors"
        part = names[number * len(names) // SHARDS : (number + 1) * len(names) // SHARDS]
        _write_hollow(folder / shard, dict(part))
        weight_map |= {name: shard for name, _ in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}, indent=2))
    return folder


def _fetched() -> Path:
    place = fetch.CACHE / "tokenizers" / TOKENIZER
    fetch.once(place, fetch.tokenizer)
    return place


def _tensors() -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "model.embed_tokens.weight", (VOCABULARY, HIDDEN)
    for layer in range(LAYERS):
        start = f"model.layers.{layer}"
        for name, rows, columns in (
            ("self_attn.q_proj", HIDDEN, HIDDEN),
            ("self_attn.k_proj", HIDDEN // 4, HIDDEN),
            ("self_attn.v_proj", HIDDEN // 4, HIDDEN),
            ("self_attn.o_proj", HIDDEN, HIDDEN),
            ("mlp.gate_proj", INTERMEDIATE, HIDDEN),
            ("mlp.up_proj", INTERMEDIATE, HIDDEN),
            ("mlp.down_proj", HIDDEN, INTERMEDIATE),
        ):
            yield f"{start}.{name}.weight", (rows, columns)
        yield f"{start}.input_layernorm.weight", (HIDDEN,)
        yield f"{start}.post_attention_layernorm.weight", (HIDDEN,)
    yield "model.norm.weight", (HIDDEN,)
    yield "lm_head.weight", (VOCABULARY, HIDDEN)


def _header(tensors: dict[str, tuple[int, ...]]) -> tuple[bytes, int]:
    header, end = {}, 0
    for name, shape in tensors.items():
        start, end = end, end + 2 * prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text, end


def _write_hollow(path: Path, tensors: dict[str, tuple[int, ...]]) -> None:
    header, size = _header(tensors)
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + size)


def embedding(folder: Path, rows: int = VOCABULARY, width: int = HIDDEN) -> Path:
    """A folder with a random embedding in bf16, in which a few rows are zero and a few identical."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    header, _ = _header({"model.embed_tokens.weight": (rows, width)})
    with (folder / "model.safetensors").open("wb") as file:
        file.write(header)
        for start in range(0, rows, 1024):
            values = draw.standard_normal((min(1024, rows - start), width), np.float32)
            values[:2] = 0
            values[2:4] = 1
            (values.view(np.uint32) >> 16).astype(np.uint16).tofile(file)
    return folder
