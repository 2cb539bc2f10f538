"""Rules about serving: what vLLM and other runtimes make of the checkpoint."""

from .pickle_weights import pickle_weights
from .vllm_lora import vllm_lora

__all__ = ["pickle_weights", "vllm_lora"]
