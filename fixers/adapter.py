"""Mending the configuration of LoRA adapters, and models that LoRA cannot target."""
