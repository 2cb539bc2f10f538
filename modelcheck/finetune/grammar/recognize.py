"""Does a text conform to a grammar: by the recogniser of transformers-cfg, within bounds.

Its stacks are one for each way in which a text can be read so far, and they may double with every character.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from modelcheck.errors import UsageError
from modelcheck.grammar import Grammar

State = frozenset[tuple[int, ...]]
# What one text may cost: elements of stacks, and as many more for each stack as one costs by itself.
BUDGET = 4_000_000
STACK = 20
INSTALL = "pip install 'modelcheck[grammar]'"


class TooAmbiguous(UsageError):
    """A text can be read in more ways, or is longer, than can be followed."""


class Recognizer:
    """Reads texts character by character. Raises UsageError where transformers-cfg is not installed."""

    def __init__(self, grammar: Grammar) -> None:
        try:
            from transformers_cfg.parser import parse_ebnf
        except ImportError as error:
            raise UsageError(f"a grammar needs transformers-cfg ({error}): {INSTALL}") from None
        table = parse_ebnf(grammar.text)
        self.inner: Any = _uncached()(table.grammar_encoding, table.symbol_table["root"])
        self.start: State = frozenset(self.inner.stacks)

    def after(self, state: State, point: int) -> State:
        """The state after one more character; empty where the text cannot go on with it."""
        step = self.inner._update_state_with_code_point_for_single_stack  # noqa: SLF001  it has no public name
        return frozenset().union(*(step(point, stack) for stack in state)) if state else state

    def within(self, state: State, begun: bytes) -> State:
        """The part of the state that can go on with a character that begins with these bytes, the first of UTF-8."""
        from transformers_cfg.utf8_utils import PartialUTF8

        length = 2 if begun[0] < 0xE0 else 3 if begun[0] < 0xF0 else 4
        value = begun[0] & (0x7F >> length)
        for byte in begun[1:]:
            value = value << 6 | byte & 0x3F
        partial = PartialUTF8(value, length - len(begun))
        accepts = self.inner.partial_utf8_accept_at_element
        return frozenset(stack for stack in state if stack and accepts(stack[-1], partial))

    def conforms(self, text: str) -> bool:
        """Whether the whole text is one of the grammar's. Raises TooAmbiguous where that would take too long."""
        state, spent = self.start, 0
        for at, character in enumerate(text):
            spent += sum(STACK + len(stack) for stack in state)
            if spent > BUDGET:
                raise TooAmbiguous(
                    f"could not be checked: the grammar has {len(state)} ways to read the first {at} of {len(text)} "
                    "characters; write it so that one character decides which way to go, or bound its repeats"
                )
            state = self.after(state, ord(character))
            if not state:
                return False
        return () in state


@cache
def _uncached() -> type[Any]:
    """transformers-cfg's recogniser without its caches, which keep every stack of every text for good."""
    from transformers_cfg.recognizer import StringRecognizer

    bare = {
        name: getattr(StringRecognizer, name).__wrapped__
        for name in (
            "expand_stack_head",
            "_update_state_with_code_point_for_single_stack",
            "_update_state_with_code_point_for_all_stacks",
        )
    }
    return type("Uncached", (StringRecognizer,), bare)
