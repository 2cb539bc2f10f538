"""Rules about config.json and generation_config.json."""

from .eos_disagrees import eos_disagrees
from .vocab_size_rows import vocab_size_rows

__all__ = ["eos_disagrees", "vocab_size_rows"]
