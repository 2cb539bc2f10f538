"""A grammar by a file's name, or in place."""

from __future__ import annotations

import re
from pathlib import Path

from .bnf import Grammar
from .ebnf import LONGEST, GrammarError, parse

# What a grammar holds, and hardly the name of a file.
MARKS = re.compile(r'["|\n]| = ')


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
        raise GrammarError(_not_opened(source, error)) from None
    except UnicodeDecodeError as error:
        raise GrammarError(f"{source}: is not UTF-8: {error.reason} at byte {error.start}") from None


def _not_opened(source: str, error: OSError) -> str:
    if not MARKS.search(source):
        return f"{source}: {error.strerror}; expected a file, or a grammar: root ::= ..."
    first, *_ = source.splitlines()
    return (
        f"{first}: holds no ::=, so it is taken for the name of a file ({error.strerror}); "
        "rules of a grammar read root ::= ..."
    )
