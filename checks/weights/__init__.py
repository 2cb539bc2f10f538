"""Rules about safetensors shards and what is in them."""

from .shard_missing import shard_missing
from .untrained_rows import untrained_rows
from .untrained_token_used import untrained_token_used

__all__ = ["shard_missing", "untrained_rows", "untrained_token_used"]
