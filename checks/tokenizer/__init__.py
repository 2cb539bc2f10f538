"""Rules about the tokenizer and its special tokens."""

from .pad_is_eos import pad_is_eos

__all__ = ["pad_is_eos"]
