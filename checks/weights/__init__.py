"""Rules about safetensors shards and what is in them."""

from .head_missing import head_missing
from .missing_tensor import missing_tensor
from .non_finite_weights import non_finite_weights
from .quantization_config_left import quantization_config_left
from .shard_missing import shard_missing
from .tied_but_two_heads import tied_but_two_heads
from .untrained_rows import untrained_rows
from .untrained_token_used import untrained_token_used
from .wrapper_prefix import wrapper_prefix

__all__ = [
    "head_missing",
    "missing_tensor",
    "non_finite_weights",
    "quantization_config_left",
    "shard_missing",
    "tied_but_two_heads",
    "untrained_rows",
    "untrained_token_used",
    "wrapper_prefix",
]
