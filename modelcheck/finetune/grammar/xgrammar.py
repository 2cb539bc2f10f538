"""Constrained decoding by xgrammar: the same grammars, in milliseconds where transformers-cfg takes longer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from modelcheck.errors import UsageError
from modelcheck.facts.token_bytes import TokenBytes
from modelcheck.grammar import Grammar


def rows(grammar: Grammar, tokens: TokenBytes, stop_ids: frozenset[int]) -> Callable[[], Row]:
    """What makes a row. Raises UsageError where xgrammar is not installed."""
    try:
        import xgrammar as xgr
    except ImportError as error:
        raise UsageError(f"grammar_backend = 'xgrammar' needs that package ({error}): pip install xgrammar") from None
    size = 1 + max((*tokens.by_id, *stop_ids))
    # A token without bytes is one that writes nothing, which it never allows.
    written = [b"" if i in stop_ids else tokens.by_id.get(i, b"") for i in range(size)]
    info = xgr.TokenizerInfo(written, xgr.VocabType.RAW, vocab_size=size, stop_token_ids=sorted(stop_ids))
    compiled = xgr.GrammarCompiler(info).compile_grammar(xgr.Grammar.from_ebnf(grammar.text))
    return lambda: Row(xgr.GrammarMatcher(compiled), xgr.allocate_token_bitmask(1, size), size)


class Row:
    """One answer in the making."""

    def __init__(self, matcher: Any, bits: Any, size: int) -> None:
        self._matcher, self._bits, self._size = matcher, bits, size

    def allowed(self) -> Any:
        """The ids that may come next, as a tensor of booleans."""
        import torch

        self._matcher.fill_next_token_bitmask(self._bits)
        words = self._bits[0].unsqueeze(1)
        return ((words >> torch.arange(32, dtype=words.dtype)) & 1).bool().flatten()[: self._size]

    def accept(self, token: int) -> None:
        """Go on with a token that was allowed."""
        self._matcher.accept_token(token)
