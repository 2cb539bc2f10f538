"""Mending the tokenizer and its special tokens."""
