"""Which tokens may come next, by the recogniser of transformers-cfg.

transformers-cfg's own masks know few tokenizers, by their class, take bytes for Latin-1 where the grammar's text is
ASCII, let through bytes that are no UTF-8 (E0 82), and walk all bytes of all tokens for each new state. Here all tokens
go through the recogniser at once, character by character: each character becomes its class (the ranges of the grammar
that it is in), and a table that is filled as it is needed says what state comes after a state and a class.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import numpy.typing as npt

from modelcheck.facts.token_bytes import TokenBytes
from modelcheck.finetune.grammar.recognize import BUDGET, STACK, Recognizer, State, TooAmbiguous
from modelcheck.grammar import Grammar

# Masks that are kept, 262 kB each for a vocabulary of that many tokens; states that the table may grow to.
KEPT = 256
STATES = 4096
DEAD, UNKNOWN = 0, -1
# The stacks, and the bytes of the character that is begun.
At = tuple[State, bytes]
Bits = npt.NDArray[np.bool_]


class Masks:
    """The masks of one grammar for one vocabulary. Raises UsageError where transformers-cfg is not installed."""

    def __init__(self, grammar: Grammar, tokens: TokenBytes, stop_ids: frozenset[int]) -> None:
        self._table, self._tokens, self._stop_ids = _Table(grammar), tokens, sorted(stop_ids)
        self._size = 1 + max((*tokens.by_id, *stop_ids))
        self._classes = self._table.classes(tokens.points)
        self._masks: OrderedDict[At, Any] = OrderedDict()

    def row(self) -> Row:
        """An answer in the making."""
        return Row(self, (self._table.recognizer.start, b""))

    def after(self, at: At, token: int) -> At:
        """Where an answer is after one more token, which was allowed."""
        return self._after(at, self._tokens.by_id[token])

    def _after(self, at: At, written: bytes) -> At:
        state, data = at[0], at[1] + written
        try:
            text, begun = data.decode(), b""
        except UnicodeDecodeError as error:
            if error.reason != "unexpected end of data":
                return frozenset(), b""
            text, begun = data[: error.start].decode(), data[error.start :]
        for character in text:
            state = self._table.recognizer.after(state, ord(character))
        return (self._table.recognizer.within(state, begun) if begun else state), begun

    def allowed(self, at: At) -> Any:
        """The ids that may come next, as a tensor of booleans. Raises TooAmbiguous."""
        import torch

        if at not in self._masks:
            if len(self._masks) == KEPT:
                self._masks.popitem(last=False)
            self._masks[at] = torch.from_numpy(self._computed(*at))
        self._masks.move_to_end(at)
        return self._masks[at]

    def _computed(self, state: State, begun: bytes) -> Bits:
        if sum(STACK + len(stack) for stack in state) * STACK > BUDGET:
            raise TooAmbiguous(f"the grammar has {len(state)} ways to read the answer so far: let a character decide")
        mask = np.zeros(self._size, dtype=np.bool_)
        if not begun:
            mask[self._tokens.whole[self._alive(state)]] = True
        for number, token in self._tokens.parts:
            # A token that goes on with a character stands inside of one, and no other does.
            if (token[0] >> 6 == 2) == bool(begun) and self._after((state, begun), token)[0]:
                mask[number] = True
        mask[self._stop_ids] = not begun and () in state
        return mask

    def _alive(self, state: State) -> Bits:
        """Which of the tokens of whole characters can come next."""
        ends, table = self._tokens.ends, self._table
        at, states = np.concatenate(([0], ends[:-1])), np.full(len(ends), table.number(state))
        live = np.arange(len(ends))
        while len(live):
            states[live] = table.after(states[live], self._classes[at[live]])
            at[live] += 1
            live = live[(states[live] != DEAD) & (at[live] < ends[live])]
        alive: Bits = states != DEAD
        return alive


class _Table:
    """States by number, and what comes after each of them for each class of characters."""

    def __init__(self, grammar: Grammar) -> None:
        self.recognizer = Recognizer(grammar)
        # Where the class of code points changes; the grammar cannot tell apart what lies between.
        self._cuts = np.array(
            sorted({point for ranges in grammar.classes for low, high in ranges for point in (low, high + 1)})
        )
        self._clear()

    def _clear(self) -> None:
        self._states: list[State] = [frozenset()]
        self._numbers: dict[State, int] = {frozenset(): DEAD}
        self._next = np.full((64, len(self._cuts) + 1), UNKNOWN)
        self._next[DEAD] = DEAD

    def classes(self, points: npt.NDArray[np.uint32]) -> npt.NDArray[np.int64]:
        """The class of each code point, 0 for those before the first that the grammar knows."""
        return np.searchsorted(self._cuts, points, side="right")

    def number(self, state: State) -> int:
        """The number of the state that a search begins with."""
        if len(self._states) > STATES:
            self._clear()
        return self._number(state)

    def _number(self, state: State) -> int:
        if state not in self._numbers:
            self._numbers[state] = len(self._states)
            self._states.append(state)
            if len(self._states) > len(self._next):
                self._next = np.concatenate((self._next, np.full_like(self._next, UNKNOWN)))
        return self._numbers[state]

    def after(self, states: npt.NDArray[np.int64], classes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The states after one character of each class."""
        found = self._next[states, classes]
        unknown = found == UNKNOWN
        if not unknown.any():
            return found
        width = len(self._cuts) + 1
        for key in np.flatnonzero(np.bincount(states[unknown] * width + classes[unknown])).tolist():
            state, letter = divmod(key, width)
            after = self.recognizer.after(self._states[state], int(self._cuts[letter - 1])) if letter else frozenset()
            number = self._number(after)  # before the row is looked up: the table may grow
            self._next[state, letter] = number
        return self._next[states, classes]


class Row:
    """One answer in the making."""

    def __init__(self, masks: Masks, start: At) -> None:
        self._masks, self._at = masks, start

    def allowed(self) -> Any:
        """The ids that may come next, as a tensor of booleans."""
        return self._masks.allowed(self._at)

    def accept(self, token: int) -> None:
        """Go on with a token that was allowed."""
        self._at = self._masks.after(self._at, token)
