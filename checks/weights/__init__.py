"""Rules about safetensors shards and what is in them."""
