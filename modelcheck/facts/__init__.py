"""The facts of a checkpoint, one file for each family of them. This list is their registration."""

from .adapter_config import adapter_config, lora
from .adapter_tensors import adapter_tensors
from .architecture import architecture
from .base import (
    base_chat_template,
    base_config,
    base_files,
    base_generation_config,
    base_shards,
    base_special_tokens,
    base_special_tokens_map,
    base_tensors,
    base_tokenizer_config,
    base_tokenizer_json,
    base_weight_index,
    fits_base,
)
from .base_modules import base_modules
from .chat_template import chat_template, is_chat, template_places
from .config import config, generation_config
from .conversations import conversations, rendered
from .dataset import data, dataset
from .differences import differences
from .drift import template_drift, tokenizer_drift
from .embeddings import embedding_tensor, embeddings
from .emitted import emitted
from .encoded_rows import encoded_rows, row_limit
from .expected import architecture_table, expected_tensors
from .files import files
from .finite import non_finite, value_spans
from .gaps import tensor_gaps
from .grammar import grammar
from .heads import tie
from .leaks import leaks
from .lora_targets import lora_targets
from .norm_histogram import norm_histogram
from .padding import idle_tokens, new_pad, reserved_pads
from .rebuilt import rebuilt_tokenizer
from .rope import ropes
from .rows import rows
from .skill import skill
from .special_tokens import special_tokens, special_tokens_map, stop_ids, tokenizer_config
from .tensor_names import quantization, wrapped
from .tensors import shards, tensors
from .texts import training_texts
from .tokenizer import tokenizer, tokenizer_json
from .trained_mean import new_rows
from .training import label_audit, trainability, training, training_bases, training_log
from .untrained import untrained
from .used_rows import used_rows
from .vllm_registry import vllm_registry
from .vocabulary import vocabulary
from .weight_index import weight_index, weight_indexes

__all__ = [
    "adapter_config",
    "adapter_tensors",
    "architecture",
    "architecture_table",
    "base_chat_template",
    "base_config",
    "base_files",
    "base_generation_config",
    "base_modules",
    "base_shards",
    "base_special_tokens",
    "base_special_tokens_map",
    "base_tensors",
    "base_tokenizer_config",
    "base_tokenizer_json",
    "base_weight_index",
    "chat_template",
    "config",
    "conversations",
    "data",
    "dataset",
    "differences",
    "embedding_tensor",
    "embeddings",
    "emitted",
    "encoded_rows",
    "expected_tensors",
    "files",
    "fits_base",
    "generation_config",
    "grammar",
    "idle_tokens",
    "is_chat",
    "label_audit",
    "leaks",
    "lora",
    "lora_targets",
    "new_pad",
    "new_rows",
    "non_finite",
    "norm_histogram",
    "quantization",
    "rebuilt_tokenizer",
    "rendered",
    "reserved_pads",
    "ropes",
    "row_limit",
    "rows",
    "shards",
    "skill",
    "special_tokens",
    "special_tokens_map",
    "stop_ids",
    "template_drift",
    "template_places",
    "tensor_gaps",
    "tensors",
    "tie",
    "tokenizer",
    "tokenizer_config",
    "tokenizer_drift",
    "tokenizer_json",
    "trainability",
    "training",
    "training_bases",
    "training_log",
    "training_texts",
    "untrained",
    "used_rows",
    "value_spans",
    "vllm_registry",
    "vocabulary",
    "weight_index",
    "weight_indexes",
    "wrapped",
]
