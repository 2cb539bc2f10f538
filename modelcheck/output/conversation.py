"""A rendered conversation on a terminal: one colour for each role, what carries loss underlined."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import click

from modelcheck.markers import NoMarker
from modelcheck.show import Conversation

from .text import printable

COLOURS = {"system": "magenta", "user": "cyan", "assistant": "green", "tool": "yellow"}
# What underlining says on a terminal, brackets say in a file.
OPEN, CLOSE = "⟦", "⟧"


def render(shown: Conversation, *, ids: bool, colour: bool) -> str:
    """The text, then what the tokenizer would add, the markers for collators, and the ids if asked for."""
    lines = [_coloured(shown, colour=colour), "", *_notes(shown, colour=colour)]
    if ids:
        lines += ["", *_ids(shown)]
    return "\n".join(lines)


def _coloured(shown: Conversation, *, colour: bool) -> str:
    cuts = {0, len(shown.text), *(edge for span in shown.loss for edge in span)}
    cuts |= {edge for turn in shown.turns for edge in (turn.start, turn.end)}
    edges = sorted(cuts)
    return "".join(_piece(shown, start, end, colour=colour) for start, end in pairwise(edges))


def _piece(shown: Conversation, start: int, end: int, *, colour: bool) -> str:
    text = "\n".join(map(printable, shown.text[start:end].split("\n")))
    loss = any(first <= start < last for first, last in shown.loss)
    if not colour:
        return f"{OPEN}{text}{CLOSE}" if loss else text
    role = next((turn.role for turn in shown.turns if turn.start <= start < turn.end), "")
    # A newline that carries loss would be underlined as nothing: show it.
    visible = text.replace("\n", "↵\n") if loss else text
    return click.style(visible, fg=COLOURS.get(role), underline=loss)


def _notes(shown: Conversation, *, colour: bool) -> Iterator[str]:
    if shown.why_not:
        yield f"no spans: {shown.why_not}"
    if shown.loss:
        source = "the template's generation blocks" if shown.by_blocks else "the answers and the tokens that end them"
        yield f"{'underlined' if colour else f'in {OPEN}{CLOSE}'}: what would carry loss ({source})"
    if shown.tokenizer is None:
        yield "the tokenizer could not be read: no ids, and markers are unchecked"
    else:
        added = shown.tokenizer.prefix
        names = " ".join(repr(shown.tokenizer.token(i)) for i in added)
        yield f"encoding this text would add {names} before it" if added else "encoding this text would add nothing"
    for role, name in (("user", "instruction_part"), ("assistant", "response_part")):
        found = shown.markers[role]
        yield f"no {name}: {found}" if isinstance(found, NoMarker) else f"{name} = {found!r}"


def _ids(shown: Conversation) -> Iterator[str]:
    if shown.tokenizer is None:
        return
    for number, start, end in shown.tokenizer.pieces(shown.text):
        loss = any(first < end and start < last for first, last in shown.loss)
        yield f"{number:>8} {'*' if loss else ' '} {shown.text[start:end]!r}"
