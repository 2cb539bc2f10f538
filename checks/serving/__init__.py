"""Rules about serving: what vLLM and other runtimes make of the checkpoint."""

from .grammar_unsupported_tokenizer import grammar_unsupported_tokenizer
from .pickle_weights import pickle_weights
from .vllm_architecture import vllm_architecture
from .vllm_generation_defaults import vllm_generation_defaults
from .vllm_lora import vllm_lora
from .vllm_processor_missing import vllm_processor_missing
from .vllm_rope import vllm_rope
from .vllm_stop_ids import vllm_stop_ids

__all__ = [
    "grammar_unsupported_tokenizer",
    "pickle_weights",
    "vllm_architecture",
    "vllm_generation_defaults",
    "vllm_lora",
    "vllm_processor_missing",
    "vllm_rope",
    "vllm_stop_ids",
]
