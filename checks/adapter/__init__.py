"""Rules about LoRA and other PEFT adapters, and the base that they belong to."""
