"""Rules about config.json and generation_config.json."""

from .config_drift import config_drift
from .differs_from_base import differs_from_base
from .eos_disagrees import eos_disagrees
from .gemma_exact_gelu import gemma_exact_gelu
from .generation_drift import generation_drift
from .rope_type_conflict import rope_type_conflict
from .rope_v5_only import rope_v5_only
from .sliding_window_off_by_one import sliding_window_off_by_one
from .use_cache_false import use_cache_false
from .vocab_size_rows import vocab_size_rows

__all__ = [
    "config_drift",
    "differs_from_base",
    "eos_disagrees",
    "gemma_exact_gelu",
    "generation_drift",
    "rope_type_conflict",
    "rope_v5_only",
    "sliding_window_off_by_one",
    "use_cache_false",
    "vocab_size_rows",
]
