"""Rules about the tokenizer and its special tokens."""

from .bos_missing import bos_missing
from .double_bos import double_bos
from .id_exceeds_rows import id_exceeds_rows
from .pad_is_eos import pad_is_eos
from .pad_missing import pad_missing
from .pad_out_of_range import pad_out_of_range
from .special_token_unknown import special_token_unknown
from .tokenizer_class_overrides import tokenizer_class_overrides
from .tokenizer_drift import tokenizer_drift

__all__ = [
    "bos_missing",
    "double_bos",
    "id_exceeds_rows",
    "pad_is_eos",
    "pad_missing",
    "pad_out_of_range",
    "special_token_unknown",
    "tokenizer_class_overrides",
    "tokenizer_drift",
]
