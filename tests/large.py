"""A checkpoint in the shape of Llama-3-70B, true to size and made on the fly: 141 GB that nobody has to hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from fakehub import Content

from modelcheck import tiny

LAYERS, HIDDEN, MIDDLE, KEYS, VOCABULARY, SHARDS = 80, 8192, 28672, 1024, 128256, 30
FIRST_SPECIAL, SPECIAL = 128000, 256
# The rows of a base model's special tokens, but for the first two, were never trained.
DEAD = range(FIRST_SPECIAL + 2, VOCABULARY)
ROW = 2 * HIDDEN
PERIOD = 64 * ROW + 6


def shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    """The tensors in the order in which transformers writes them."""
    yield "model.embed_tokens.weight", (VOCABULARY, HIDDEN)
    for layer in range(LAYERS):
        here = f"model.layers.{layer}."
        for name in ("input_layernorm", "post_attention_layernorm"):
            yield f"{here}{name}.weight", (HIDDEN,)
        for name, rows in (("q", HIDDEN), ("k", KEYS), ("v", KEYS), ("o", HIDDEN)):
            yield f"{here}self_attn.{name}_proj.weight", (rows, HIDDEN)
        for name, shape in (("gate", (MIDDLE, HIDDEN)), ("up", (MIDDLE, HIDDEN)), ("down", (HIDDEN, MIDDLE))):
            yield f"{here}mlp.{name}_proj.weight", shape
    yield "model.norm.weight", (HIDDEN,)
    yield "lm_head.weight", (VOCABULARY, HIDDEN)


@dataclass
class Shard:
    """A safetensors file whose header is real and whose values come from one table of random numbers."""

    header: bytes
    size: int
    embedding: bool
    table: bytes

    def read(self, start: int, stop: int) -> bytes:
        body = len(self.header)
        if stop <= body:
            return self.header[start:stop]
        if start < body:
            return self.header[start:] + self.read(body, stop)
        return b"".join(self._values(start - body, stop - body))

    def _values(self, start: int, stop: int) -> Iterator[bytes]:
        while start < stop:
            row = start // ROW
            end = min(stop, (row + 1) * ROW)
            if self.embedding and row in DEAD:
                yield bytes(end - start)
            else:  # no two rows begin at the same place of the table
                at = row * ROW % PERIOD + start % ROW
                yield self.table[at : at + end - start]
            start = end


def checkpoint() -> dict[str, bytes | Content]:
    """{file name: content}."""
    draw = np.random.default_rng(0)
    table = tiny.stored(draw.normal(0, 0.02, PERIOD // 2 + HIDDEN).astype(np.float32), "BF16")
    tensors = list(shapes())
    total = sum(2 * int(np.prod(shape)) for _, shape in tensors)
    files: dict[str, bytes | Content] = {}
    weight_map: dict[str, str] = {}
    number, entries, end, done = 1, {}, 0, 0
    for name, shape in tensors:
        size = 2 * int(np.prod(shape))
        entries[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
        weight_map[name] = f"model-{number:05}-of-{SHARDS:05}.safetensors"
        end += size
        done += size
        if done >= total * number / SHARDS:
            text = json.dumps({"__metadata__": {"format": "pt"}, **entries}).encode()
            header = len(text).to_bytes(8, "little") + text
            files[weight_map[name]] = Shard(header, len(header) + end, "model.embed_tokens.weight" in entries, table)
            number, entries, end = number + 1, {}, 0
    files["model.safetensors.index.json"] = json.dumps({"metadata": {}, "weight_map": weight_map}).encode()
    return files | documents()


def documents() -> dict[str, bytes]:
    """The small files; the tokenizer has as many tokens and bytes as Llama's."""
    config = {
        **tiny.CONFIG, "hidden_size": HIDDEN, "intermediate_size": MIDDLE, "num_hidden_layers": LAYERS,
        "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": VOCABULARY,
        "eos_token_id": FIRST_SPECIAL + 3, "pad_token_id": FIRST_SPECIAL,
    }  # fmt: skip
    generation = {**tiny.GENERATION_CONFIG, "eos_token_id": [FIRST_SPECIAL + 3], "pad_token_id": FIRST_SPECIAL}
    values = {
        "config.json": config,
        "generation_config.json": generation,
        "tokenizer_config.json": tiny.TOKENIZER_CONFIG,
    }
    return {name: json.dumps(value).encode() for name, value in values.items()} | {"tokenizer.json": tokenizer()}


def tokenizer() -> bytes:
    document = json.loads(tiny.tokenizer_json())
    alphabet = [token for token in document["model"]["vocab"] if len(token) == 1]
    words = [f"{i:06}{'abcdefgh' * 7}"[:60] for i in range(FIRST_SPECIAL - len(alphabet))]
    document["model"] |= {"vocab": {token: i for i, token in enumerate(alphabet + words)}, "merges": []}
    reserved = [f"<|reserved_special_token_{i}|>" for i in range(SPECIAL - len(tiny.SPECIAL))]
    like = document["added_tokens"][0]
    document["added_tokens"] = [
        {**like, "id": FIRST_SPECIAL + i, "content": token} for i, token in enumerate([*tiny.SPECIAL, *reserved])
    ]
    return json.dumps(document, indent=1).encode()
