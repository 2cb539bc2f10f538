"""The facts of a checkpoint, one file for each family of them. This list is their registration."""

from .architecture import architecture
from .chat_template import chat_template, is_chat
from .config import config, generation_config
from .conversations import conversations, rendered
from .embeddings import embeddings
from .emitted import emitted
from .files import files
from .rebuilt import rebuilt_tokenizer
from .rope import ropes
from .rows import rows
from .special_tokens import special_tokens, special_tokens_map, stop_ids, tokenizer_config
from .tensors import shards, tensors
from .texts import training_texts
from .tokenizer import tokenizer, tokenizer_json
from .untrained import untrained
from .vllm_registry import vllm_registry
from .vocabulary import vocabulary
from .weight_index import weight_index, weight_indexes

__all__ = [
    "architecture",
    "chat_template",
    "config",
    "conversations",
    "embeddings",
    "emitted",
    "files",
    "generation_config",
    "is_chat",
    "rebuilt_tokenizer",
    "rendered",
    "ropes",
    "rows",
    "shards",
    "special_tokens",
    "special_tokens_map",
    "stop_ids",
    "tensors",
    "tokenizer",
    "tokenizer_config",
    "tokenizer_json",
    "training_texts",
    "untrained",
    "vllm_registry",
    "vocabulary",
    "weight_index",
    "weight_indexes",
]
