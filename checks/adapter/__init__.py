"""Rules about LoRA and other PEFT adapters, and the base that they belong to."""

from .lora_base_quantized import lora_base_quantized
from .lora_fused_qkv import lora_fused_qkv
from .lora_modules_to_save_misses import lora_modules_to_save_misses
from .lora_moe_experts_missed import lora_moe_experts_missed
from .lora_rank_too_large import lora_rank_too_large
from .lora_target_misses import lora_target_misses
from .lora_tensor_mismatch import lora_tensor_mismatch
from .lora_tied_embeddings import lora_tied_embeddings
from .lora_untrained import lora_untrained

__all__ = [
    "lora_base_quantized",
    "lora_fused_qkv",
    "lora_modules_to_save_misses",
    "lora_moe_experts_missed",
    "lora_rank_too_large",
    "lora_target_misses",
    "lora_tensor_mismatch",
    "lora_tied_embeddings",
    "lora_untrained",
]
