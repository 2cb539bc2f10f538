"""Rules about serving: what vLLM and other runtimes make of the checkpoint."""

from .pickle_weights import pickle_weights

__all__ = ["pickle_weights"]
