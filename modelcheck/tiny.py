"""A small, complete and healthy checkpoint, made on the spot: for the demo, for overlays, for tests of packs.

A Llama of two layers with a byte-level BPE tokenizer and a ChatML template, in which no rule finds anything.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

VOCABULARY, HIDDEN, INTERMEDIATE, LAYERS, HEAD = 320, 64, 128, 2, 32
SPECIAL = ("<|pad|>", "<|bos|>", "<|im_start|>", "<|im_end|>", "<|reserved_0|>", "<|reserved_1|>")
TEXT = (
    "the model reads a text and writes the next token of it, one after the other, until it ends the turn",
    "a checkpoint holds the weights, the tokenizer, the template and the configuration of a model",
    "what is wrong in one of these files raises no error and costs a training run",
)
TEMPLATE = """{%- for message in messages %}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "intermediate_size": INTERMEDIATE,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HIDDEN // HEAD,
    "num_key_value_heads": 1,
    "head_dim": HEAD,
    "hidden_act": "silu",
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    "tie_word_embeddings": False,
    "bos_token_id": None,
    "eos_token_id": 3,
    "pad_token_id": 0,
    "dtype": "bfloat16",
    "transformers_version": "5.23.0",
}
GENERATION_CONFIG = {"eos_token_id": [3], "pad_token_id": 0, "transformers_version": "5.23.0"}
TOKENIZER_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": None,
    "eos_token": "<|im_end|>",
    "pad_token": "<|pad|>",
    "model_max_length": 512,
    "clean_up_tokenization_spaces": False,
    "chat_template": TEMPLATE,
}


# What the tiny model is to learn, and what it is asked afterwards.
QUESTIONS = {
    "train.jsonl": (
        ("What is a token?", "A piece of text."),
        ("What does a tokenizer do?", "It turns text into tokens."),
        ("What is a template?", "It frames the turns."),
        ("What ends a turn?", "A token of its own."),
        ("What is an embedding?", "A row for a token."),
        ("What is a shard?", "One of several files."),
        ("What holds the weights?", "The checkpoint."),
        ("What is padding?", "Tokens that fill a row."),
        ("What is a rank?", "The width of an update."),
        ("What is a batch?", "Rows of one step."),
        ("What is a step?", "One update of the weights."),
        ("What is an epoch?", "Every row once."),
    ),
    "eval.jsonl": (("What is a head?", "A part of attention."), ("What is a layer?", "A part of the model.")),
}


def rows(file: str) -> list[dict[str, Any]]:
    """The rows of a healthy data set: `train.jsonl` or `eval.jsonl`."""
    return [
        {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
        for question, answer in QUESTIONS[file]
    ]


@functools.cache
def files() -> Mapping[str, bytes]:
    """{file name: content} of the healthy checkpoint."""
    documents = {
        "config.json": CONFIG,
        "generation_config.json": GENERATION_CONFIG,
        "tokenizer_config.json": TOKENIZER_CONFIG,
        "tokenizer.json": json.loads(tokenizer_json()),
    }
    content = {
        name: json.dumps(document, indent=2, ensure_ascii=False).encode() for name, document in documents.items()
    }
    return content | {"model.safetensors": safetensors(tensors())}


@functools.cache
def tokenizer_json() -> str:
    """A byte-level BPE tokenizer trained on three sentences."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[AddedToken(token, normalized=False, special=True) for token in SPECIAL],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    return str(tokenizer.to_str())


@functools.cache
def tensors() -> Mapping[str, NDArray[np.float32]]:
    """The weights, in float32 from a fixed seed."""
    import numpy as np

    draw = np.random.default_rng(20)
    shapes: dict[str, Sequence[int]] = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN)}
    for layer in range(LAYERS):
        shapes |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in _layer().items()}
    shapes |= {"model.norm.weight": (HIDDEN,), "lm_head.weight": (VOCABULARY, HIDDEN)}
    return {
        name: np.ones(shape, np.float32) if len(shape) == 1 else draw.normal(0, 0.05, shape).astype(np.float32)
        for name, shape in shapes.items()
    }


def _layer() -> dict[str, Sequence[int]]:
    return {
        "input_layernorm": (HIDDEN,),
        "self_attn.q_proj": (HIDDEN, HIDDEN),
        "self_attn.k_proj": (HEAD, HIDDEN),
        "self_attn.v_proj": (HEAD, HIDDEN),
        "self_attn.o_proj": (HIDDEN, HIDDEN),
        "post_attention_layernorm": (HIDDEN,),
        "mlp.gate_proj": (INTERMEDIATE, HIDDEN),
        "mlp.up_proj": (INTERMEDIATE, HIDDEN),
        "mlp.down_proj": (HIDDEN, INTERMEDIATE),
    }


def safetensors(tensors: Mapping[str, NDArray[Any]], dtypes: Mapping[str, str] | None = None) -> bytes:
    """The bytes of a safetensors file: float32 arrays are stored as BF16 unless `dtypes` says F32 or F16."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    body = bytearray()
    for name, values in tensors.items():
        dtype = (dtypes or {}).get(name, "BF16")
        raw = stored(values, dtype)
        header[name] = {"dtype": dtype, "shape": list(values.shape), "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + bytes(body)


def stored(values: NDArray[Any], dtype: str) -> bytes:
    """Float32 values in a type of the safetensors format; BF16 keeps the upper half, rounded to even."""
    import numpy as np

    if dtype != "BF16":
        return values.astype({"F32": np.float32, "F16": np.float16, "I32": np.int32}[dtype]).tobytes()
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return rounded.astype(np.uint16).tobytes()
