"""A grammar by a file's name, or in place."""

from __future__ import annotations

from pathlib import Path

from .bnf import Grammar
from .ebnf import LONGEST, GrammarError, parse


def is_text(source: str) -> bool:
    """Whether it is a grammar itself: the name of a file holds no `::=`."""
    return "::=" in source


def load(source: str, name: str = "grammar") -> Grammar:
    """The grammar in a file, or that is the text itself; `name` begins the messages about the latter.

    Raises GrammarError, with file and line.
    """
    if is_text(source):
        return parse(source, name)
    path = Path(source)
    try:
        with path.open(encoding="utf-8") as file:
            return parse(file.read(LONGEST + 1), source)
    except OSError as error:
        raise GrammarError(f"{source}: {error.strerror}; expected a file, or a grammar: root ::= ...") from None
    except UnicodeDecodeError as error:
        raise GrammarError(f"{source}: is not UTF-8: {error.reason} at byte {error.start}") from None
