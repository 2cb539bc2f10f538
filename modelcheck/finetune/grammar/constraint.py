"""Constrained decoding with transformers: a logits processor that lets through what keeps an answer in its grammar."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from transformers import LogitsProcessor

from modelcheck.errors import UsageError
from modelcheck.facts.token_bytes import TokenBytes, Unspellable, token_bytes
from modelcheck.finetune.grammar import xgrammar
from modelcheck.finetune.grammar.masks import Masks
from modelcheck.grammar import Grammar
from modelcheck.grammar.bnf import ROOT


class Row(Protocol):
    """One answer in the making."""

    def allowed(self) -> Any:
        """The ids that may come next, as a tensor of booleans; whatever is beyond its end may not."""

    def accept(self, token: int) -> None:
        """Go on with a token that was allowed."""


# {name: what makes the maker of rows, once for a grammar and a tokenizer}
BACKENDS: Mapping[str, Callable[[Grammar, TokenBytes, frozenset[int]], Callable[[], Row]]] = {
    "transformers-cfg": lambda grammar, tokens, stops: Masks(grammar, tokens, stops).row,
    "xgrammar": xgrammar.rows,
}


class Constraint:
    """A grammar, made ready for a tokenizer: the costly part, shared by all calls."""

    def __init__(self, row: Callable[[], Row], stop_ids: frozenset[int], never_first: frozenset[int]) -> None:
        self._row, self._stop_ids, self._never_first = row, stop_ids, sorted(never_first)

    @classmethod
    def of(
        cls, grammar: Grammar, tokens: TokenBytes, stop_ids: Sequence[int], backend: str = "transformers-cfg"
    ) -> Constraint:
        """For the tokens of a tokenizer (`spelling`) and the ids that end an answer.

        Raises UsageError where no text of the grammar can be written with them, or a package is missing.
        """
        if not stop_ids:
            raise UsageError("a grammar needs a token that ends the answer, and the checkpoint names none")
        writable = grammar.within(tokens.alphabet)
        if ROOT not in writable.rules:
            raise UsageError("the grammar cannot be used with this tokenizer: its tokens spell none of the texts")
        if tokens.drops_space:
            writable = writable.behind_a_space()
        stops = frozenset(stop_ids)
        return cls(BACKENDS[backend](writable, tokens, stops), stops, tokens.never_first)

    def processor(self) -> Processor:
        """What one call of `generate` is given, before all that chooses among tokens."""
        return Processor(self._row, self._stop_ids, self._never_first)


def spelling(tokenizer: Any) -> TokenBytes:
    """What the tokens of a tokenizer of transformers write. Raises UsageError where that cannot be said.

    It takes a second for each 100 000 tokens: ask once for a tokenizer.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        kind = type(tokenizer).__name__
        raise UsageError(f"a grammar needs a fast tokenizer, one with tokenizer.json, and this is a {kind}")
    try:
        return token_bytes(backend)
    except Unspellable as reason:
        raise UsageError(f"a grammar cannot be used with this tokenizer: {reason}") from None


class Processor(LogitsProcessor):
    """Masks the scores of a batch. It follows the answers token by token, so it serves a single call."""

    def __init__(self, row: Callable[[], Row], stop_ids: frozenset[int], never_first: Sequence[int]) -> None:
        self._row, self._stop_ids, self._never_first = row, stop_ids, never_first
        self._rows: list[Row | None] = []
        self._width = 0

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Scores of shape (batch, vocabulary), minus infinity for what may not come next."""
        if not self._rows:
            self._rows = [self._row() for _ in range(len(input_ids))]
        elif input_ids.shape != (len(self._rows), self._width + 1):
            raise UsageError("a grammar goes with greedy search or sampling, one processor for each call")
        else:
            self._rows = [
                self._after(row, token) for row, token in zip(self._rows, input_ids[:, -1].tolist(), strict=True)
            ]
        first, self._width = self._width == 0, input_ids.shape[1]
        masked = scores.clone()
        for row, line in zip(self._rows, masked, strict=True):
            if row is not None:
                line.masked_fill_(~self._fitting(row.allowed(), line, first=first), -torch.inf)
        return masked

    def _after(self, row: Row | None, token: int) -> Row | None:
        """The row, gone on; None from its end on, where `generate` pads it."""
        if row is None or token in self._stop_ids:
            return None
        row.accept(token)
        return row

    def _fitting(self, allowed: Any, line: Any, *, first: bool) -> Any:
        made = torch.zeros(len(line), dtype=torch.bool)
        made[: len(allowed)] = allowed[: len(line)]
        if first:
            made[torch.tensor(self._never_first, dtype=torch.long)] = False
        if not made.any():
            raise UsageError("the model has no token with which an answer in the grammar could go on")
        return made.to(line.device)
