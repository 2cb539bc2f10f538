"""What the loss is taken on, to be looked at: the first rows on a terminal and as a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import click

from modelcheck.output import page as house
from modelcheck.output.text import printable

Preview = Sequence[Mapping[str, Any]]
# What colour says on a terminal, brackets say in a file.
OPEN, CLOSE = "⟦", "⟧"
# How a line break is shown; the next token stands in a line of its own.
BREAK = "↵"
# Tokens of a long row before its first that carries loss, and from that one on.
LED_IN, EXCERPT = 40, 200


@dataclass(frozen=True, slots=True)
class Token:
    """A token as a page shows it; `kind` is `loss`, `end` (an end of turn that carries loss) or nothing."""

    id: int
    text: str
    kind: str


@dataclass(frozen=True, slots=True)
class LabelledRow:
    """A row of the preview. `supervised` of all its `length` tokens carry loss; `before` and `after` are left out."""

    row: int
    tokens: tuple[Token, ...]
    supervised: int
    length: int
    before: int = 0
    after: int = 0

    def excerpt(self) -> LabelledRow:
        """Of a long row, the tokens around the first that carries loss."""
        first = next((i for i, token in enumerate(self.tokens) if token.kind), 0)
        start = max(0, first - LED_IN) if self.length > LED_IN + EXCERPT else 0
        shown = self.tokens[start : start + LED_IN + EXCERPT]
        return replace(self, tokens=shown, before=start, after=self.length - start - len(shown))


def terminal(rows: Preview, *, colour: bool) -> str:
    """The rows as text: tokens that carry loss in green, or in brackets where there is no colour.

    Of a long row, the tokens around the first that carries loss.
    """
    return "\n".join(line for row in labelled(rows, ()) for line in _lines(row.excerpt(), colour=colour))


def _lines(row: LabelledRow, *, colour: bool) -> Iterator[str]:
    yield f"row {row.row}: {row.supervised} of {row.length} tokens carry loss"
    pieces = [f"({row.before} more) "] if row.before else []
    for loss, tokens in groupby(row.tokens, key=lambda token: bool(token.kind)):
        text = "".join(token.text for token in tokens)
        pieces.append(
            click.style(text, fg="green", bold=True) if loss and colour else f"{OPEN}{text}{CLOSE}" if loss else text
        )
    pieces += [f" ({row.after} more)"] if row.after else []
    yield from ("".join(pieces).splitlines())
    yield ""


def page(rows: Preview, end_ids: Sequence[int]) -> str:
    """The rows as a page of its own: each token with its id, those that carry loss underlined and coloured."""
    return house.render("labels_page.html", rows=labelled(rows, end_ids))


def labelled(rows: Preview, end_ids: Sequence[int]) -> list[LabelledRow]:
    """The rows as a page shows them."""
    return [_labelled(row, set(end_ids)) for row in rows]


def _labelled(row: Mapping[str, Any], ends: set[int]) -> LabelledRow:
    tokens = zip(row["ids"], row["texts"], row["supervised"], strict=True)
    made = tuple(Token(i, _visible(text), _kind(loss, i in ends)) for i, text, loss in tokens)
    return LabelledRow(row["row"], made, sum(row["supervised"]), len(made))


def _kind(loss: bool, end: bool) -> str:
    return "" if not loss else "end" if end else "loss"


def _visible(text: str) -> str:
    return f"{BREAK}\n".join(printable(part) for part in text.split("\n"))
