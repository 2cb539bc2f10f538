"""Rules about serving: what vLLM and other runtimes make of the checkpoint."""

from .vllm_lora import vllm_lora

__all__ = ["vllm_lora"]
