"""Grammars: the EBNF that every engine reads alike, and what can be said of one without any engine."""

from .bnf import Grammar
from .ebnf import GrammarError, parse
from .files import is_text, load

__all__ = ["Grammar", "GrammarError", "is_text", "load", "parse"]
