"""Rules about config.json and generation_config.json."""

from .eos_disagrees import eos_disagrees

__all__ = ["eos_disagrees"]
