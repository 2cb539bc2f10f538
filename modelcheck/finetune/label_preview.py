"""What the loss is taken on, to be looked at: the first rows on a terminal and as a page."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import click

from modelcheck.output.text import printable

Preview = Sequence[Mapping[str, Any]]
# What colour says on a terminal, brackets say in a file.
OPEN, CLOSE = "⟦", "⟧"
STYLE = """\
body { font: 15px/1.6 ui-monospace, monospace; margin: 2rem auto; max-width: 60rem; color: #222; background: #fff }
p { white-space: pre-wrap; overflow-wrap: anywhere; border-left: 3px solid #ddd; padding-left: 1rem }
span { border-radius: 2px; outline: 1px solid #0001 }
.loss { background: #b7e4c7 } .end { background: #1b7f4b; color: #fff }
@media (prefers-color-scheme: dark) {
  body { color: #ddd; background: #181818 } .loss { background: #1d5a3a } .end { background: #7ee2ac; color: #000 }
}
"""


def terminal(rows: Preview, *, colour: bool) -> str:
    """The rows as text: tokens that carry loss in green, or in brackets where there is no colour."""
    return "\n".join(line for row in rows for line in _lines(row, colour=colour))


def _lines(row: Mapping[str, Any], *, colour: bool) -> Iterator[str]:
    yield f"row {row['row']}: {sum(row['supervised'])} of {len(row['ids'])} tokens carry loss"
    pieces = []
    for loss, tokens in groupby(zip(row["texts"], row["supervised"], strict=True), key=lambda pair: pair[1]):
        text = "".join(printable(text) if text != "\n" else "↵\n" for text, _ in tokens)
        pieces.append(
            click.style(text, fg="green", bold=True) if loss and colour else f"{OPEN}{text}{CLOSE}" if loss else text
        )
    yield from ("".join(pieces).splitlines())
    yield ""


def page(rows: Preview, end_ids: Sequence[int]) -> str:
    """The rows as an HTML page of its own: each token a span that shows its id, loss in green, ends of turn in dark."""
    body = "\n".join(_paragraph(row, set(end_ids)) for row in rows)
    legend = (
        '<span class="loss">green</span> carries loss, <span class="end">dark</span> is an end of turn that carries '
        "loss; every other token is only read"
    )
    head = f'<meta charset="utf-8"><title>labels</title><style>{STYLE}</style>'
    return f"<!doctype html>\n<html lang=en><head>{head}</head><body><h1>Labels</h1>{legend}\n{body}\n</body></html>\n"


def _paragraph(row: Mapping[str, Any], ends: set[int]) -> str:
    tokens = zip(row["ids"], row["texts"], row["supervised"], strict=True)
    spans = "".join(
        f'<span title="{number}"{_class(number in ends) if loss else ""}>{html.escape(text)}</span>'
        for number, text, loss in tokens
    )
    return f"<h2>row {row['row']}</h2><p>{spans}</p>"


def _class(end: bool) -> str:
    return ' class="end"' if end else ' class="loss"'
