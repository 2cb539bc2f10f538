"""Rules about serving: what vLLM and other runtimes make of the checkpoint."""
