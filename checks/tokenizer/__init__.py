"""Rules about the tokenizer and its special tokens."""

from .bos_missing import bos_missing
from .double_bos import double_bos
from .pad_is_eos import pad_is_eos
from .pad_missing import pad_missing
from .special_token_unknown import special_token_unknown

__all__ = ["bos_missing", "double_bos", "pad_is_eos", "pad_missing", "special_token_unknown"]
