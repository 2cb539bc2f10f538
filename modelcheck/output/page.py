"""Pages of HTML in the house style: one file each, nothing fetched when it is read, no script.

Templates are in `templates/`: `house.html` is the skeleton of every page, `house.css` its colours and components,
`parts.html` the pieces that pages share. Everything that a template prints is escaped.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from modelcheck import __version__

from .text import printable

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


def render(template: str, **values: Any) -> str:
    """A template of `templates/` with these values."""
    return _environment().get_template(template).render(values)


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("modelcheck.output"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"printable": printable, "inline": inline, "count": count, "sentence": sentence, "lines": lines}
    made.globals |= {"version": __version__}
    return made


def count(number: int, word: str) -> str:
    """`1 error`, `2,000 errors`."""
    return f"{number:,} {word}{'s' * (number != 1)}"


def sentence(text: str) -> str:
    """The text with a capital at its beginning."""
    return text[:1].upper() + text[1:]


def lines(text: str) -> str:
    """Printable text that keeps its line breaks."""
    return "\n".join(map(printable, text.split("\n")))


def inline(text: str) -> Markup:
    """A line of a manual: what stands between backticks is code, everything is escaped."""
    from markupsafe import Markup, escape

    parts = re.split(r"`([^`]+)`", text)
    return Markup("").join(Markup("<code>{}</code>").format(p) if i % 2 else escape(p) for i, p in enumerate(parts))


def blocks(text: str) -> Iterator[tuple[str, list[str]]]:
    """A section of a manual as (`p`, [its text]) and (`ul`, its items), with the lines of each joined."""
    for paragraph in re.split(r"\n[ \t]*\n", text.strip()):
        # The first item of a list may follow a sentence without an empty line.
        before, *items = (" ".join(piece.split()) for piece in re.split(r"^[ \t]*- ", paragraph, flags=re.MULTILINE))
        if before:
            yield "p", [sentence(before)]
        if items:
            yield "ul", items
