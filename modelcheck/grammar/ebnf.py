"""Read a grammar that a person wrote. Whatever engines do not read alike is written out, or refused with its place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from modelcheck.errors import UsageError, did_you_mean
from modelcheck.grammar.bnf import (
    EVERYTHING,
    ROOT,
    Alternative,
    Grammar,
    Ranges,
    Symbol,
    complement,
    intersection,
    union,
)

TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\r\n]*)
    |(?P<rule>[A-Za-z][A-Za-z0-9_-]*)(?=[ \t]*::=) | (?P<name>[A-Za-z][A-Za-z0-9_-]*) | (?P<defines>::=)
    |(?P<literal>"(?:[^"\\\r\n]|\\.)*") | (?P<class>\[\^?(?:[^\]\\\r\n]|\\.)+\])
    |(?P<or>\|) | (?P<open>\() | (?P<close>\)) | (?P<repeat>[?*+]|\{[0-9]+(?:,[0-9]*)?\})""",
    re.VERBOSE,
)
CHARACTER = re.compile(r"\\x[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}|\\U[0-9A-Fa-f]{8}|\\.|[^\\]")
ESCAPES = {"n": "\n", "r": "\r", "t": "\t", **{c: c for c in "\\\"'[]^-"}}
# What people write who know another notation.
ELSEWHERE = {
    "'": 'texts stand between double quotes: "yes"',
    ".": "engines read it differently: write a class such as [^\\n]",
    ":": 'rules are written name ::= "text"',
    "=": 'rules are written name ::= "text"',
    "/": "regular expressions are no part of it: write classes and repeats, [0-9] [0-9]?",
    "[": "a class such as [a-z] ends in the same line and is not empty",
    '"': "a text ends in the same line",
    "{": "a repeat is {3}, {1,3} or {2,}",
    "<": "rule names stand without brackets",
    ";": "a rule ends where the next one begins",
}
LONGEST = 1 << 16
REPEATS = 1000
DEEPEST = 100
# Stacks that a recogniser may hold before the first character.
WIDEST = 10_000


class GrammarError(UsageError):
    """A grammar that cannot be used. The text begins with its name and the line."""


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


def parse(text: str, name: str = "grammar") -> Grammar:
    """The grammar of a text; `name` begins the messages. Raises GrammarError for the first thing that is wrong."""
    return _Parser(text, name).grammar()


class _Parser:
    """By recursive descent, straight into plain rules: what groups and repeats need becomes rules of their own."""

    def __init__(self, text: str, name: str) -> None:
        self._text, self._name = text, name
        if len(text) > LONGEST:
            self._refuse(0, f"is longer than {LONGEST} characters")
        self._tokens = [*self._scan(), _Token("end", "", len(text))]
        self._next = self._depth = self._made = 0
        self._at: dict[str, int] = {}
        self._rules: dict[str, tuple[Alternative, ...]] = {}

    def grammar(self) -> Grammar:
        """All of it, checked."""
        for token in self._tokens:
            if token.kind == "rule":
                if token.text in self._at:
                    self._refuse(token.at, f"{token.text} is defined a second time")
                self._at[token.text] = token.at
        if ROOT not in self._at:
            self._refuse(0, f'there is no rule {ROOT}, with which every text begins: {ROOT} ::= "yes" | "no"')
        while (rule := self._take("rule")) is not None:
            self._take("defines")
            self._rules[rule.text] = self._alternatives(rule.text)
        if self._tokens[self._next].kind != "end":
            self._unexpected()
        return self._checked(Grammar(self._rules))

    def _alternatives(self, owner: str) -> tuple[Alternative, ...]:
        found = [self._sequence(owner)]
        while self._take("or"):
            found.append(self._sequence(owner))
        return tuple(found)

    def _sequence(self, owner: str) -> Alternative:
        symbols: list[Symbol] = []
        start = self._next
        while (item := self._item(owner)) is not None:
            repeat = self._take("repeat")
            symbols += self._repeated(owner, item, repeat) if repeat else item
            if len(symbols) > LONGEST:
                self._refuse(self._tokens[start].at, "is too large when its repeats are written out")
        if self._next == start:
            self._unexpected()
        return tuple(symbols)

    def _item(self, owner: str) -> Alternative | None:
        if token := self._take("name"):
            if token.text not in self._at:
                self._refuse(token.at, f"{token.text} is no rule{did_you_mean(token.text, self._at)}")
            return (token.text,)
        if token := self._take("literal"):
            return self._literal(token)
        if token := self._take("class"):
            return (self._class(token),)
        if token := self._take("open"):
            return (self._group(owner, token),)
        return None

    def _literal(self, token: _Token) -> Alternative:
        symbols = tuple(
            intersection(((point, point),), EVERYTHING) for point in self._points(token.text[1:-1], token.at)
        )
        if () in symbols:
            self._refuse(token.at, f"{token.text} holds what is no character: U+0000, or half of a surrogate pair")
        return symbols

    def _group(self, owner: str, token: _Token) -> str:
        self._depth += 1
        if self._depth > DEEPEST:
            self._refuse(token.at, f"more than {DEEPEST} parentheses in each other")
        name = self._helper(owner, *self._alternatives(owner))
        if not self._take("close"):
            self._unexpected()
        self._depth -= 1
        return name

    def _helper(self, owner: str, *alternatives: Alternative) -> str:
        self._made += 1
        name = f"{owner}-{self._made}"
        while name in self._at:
            name += "-"
        self._rules[name] = alternatives
        return name

    def _repeated(self, owner: str, item: Alternative, token: _Token) -> Alternative:
        least, most = {"?": (0, 1), "*": (0, None), "+": (1, None)}.get(token.text) or _bounds(token.text)
        if max(least, most or 0) > REPEATS or (most is not None and most < least):
            self._refuse(token.at, f"{token.text} is no repeat, expected {{least,most}} up to {REPEATS}")
        symbol = item[0] if len(item) == 1 else self._helper(owner, item)
        rest: Alternative = ()
        if most is None:
            # A rule that ends with itself is what recognisers repeat without a growing stack.
            name = self._helper(owner)
            self._rules[name] = ((symbol, name), ())
            rest = (name,)
        for _ in range((most or least) - least):
            rest = (self._helper(owner, (symbol, *rest), ()),)
        return (symbol,) * least + rest

    def _class(self, token: _Token) -> Ranges:
        negated = token.text.startswith("[^")
        inner = CHARACTER.findall(token.text[1 + negated : -1])
        ranges: list[tuple[int, int]] = []
        while inner:
            low = inner.pop(0)
            high = inner.pop(1) if len(inner) > 1 and inner[0] == "-" else None
            if high is not None:
                inner.pop(0)
            [start], [end] = self._points(low, token.at), self._points(high or low, token.at)
            if end < start:
                self._refuse(token.at, f"{low}-{high} in {token.text} runs backwards")
            ranges.append((start, end))
        found = complement(ranges) if negated else intersection(union(ranges), EVERYTHING)
        return found or self._refuse(token.at, f"{token.text} holds no character")

    def _points(self, written: str, at: int) -> list[int]:
        points = []
        for character in CHARACTER.findall(written):
            if character[0] != "\\":
                point = ord(character)
            elif digits := character[2:]:
                point = int(digits, 16)
            elif character[1] in ESCAPES:
                point = ord(ESCAPES[character[1]])
            else:
                self._refuse(at, f"{character} is no escape; known are \\n \\r \\t \\xNN \\uNNNN \\UNNNNNNNN")
            points.append(point)
        return points

    def _scan(self) -> Iterator[_Token]:
        at = 0
        while at < len(self._text):
            match = TOKEN.match(self._text, at)
            if match is None:
                seen = self._text[at]
                hint = f": {ELSEWHERE[seen]}" if seen in ELSEWHERE else ""
                self._refuse(at, f"{seen!r} is no part of a grammar here{hint}")
            if match.lastgroup != "space":
                yield _Token(str(match.lastgroup), match.group(), at)
            at = match.end()

    def _take(self, kind: str) -> _Token | None:
        token = self._tokens[self._next]
        self._next += token.kind == kind
        return token if token.kind == kind else None

    def _refuse(self, at: int, problem: str) -> NoReturn:
        raise GrammarError(f"{self._name}:{self._text.count(chr(10), 0, at) + 1}: {problem}")

    def _unexpected(self) -> NoReturn:
        token = self._tokens[self._next]
        seen = "the next rule begins" if token.kind == "rule" else "it ends" if token.kind == "end" else token.text
        self._refuse(token.at, f'{seen} where a text, a class, a rule or ( is expected; nothing is written ""')

    def _line_of(self, rule: str) -> int:
        """Where a rule, or the one that a helper was made for, is defined."""
        while rule not in self._at:
            rule = rule[:-1]
        return self._at[rule]

    def _checked(self, grammar: Grammar) -> Grammar:
        if (name := grammar.circle) is not None:
            problem = "may begin with itself, or repeats what may be empty"
            self._refuse(self._line_of(name), f"{problem}: let it end with itself, and repeat no ? or *")
        for name in grammar.rules:
            if name not in grammar.productive:
                self._refuse(self._line_of(name), "never comes to an end: give it an alternative without itself")
        if len(grammar.layers) > DEEPEST:
            self._refuse(0, f"more than {DEEPEST} rules begin with each other in a row")
        if grammar.choices > WIDEST:
            self._refuse(0, f"begins in more than {WIDEST} ways, which takes recognisers too long: share beginnings")
        if len(grammar.text) > LONGEST:
            self._refuse(0, f"is {len(grammar.text)} characters long with its repeats written out, over {LONGEST}")
        return grammar


def _bounds(written: str) -> tuple[int, int | None]:
    least, comma, most = written[1:-1].partition(",")
    return int(least), int(most) if most else None if comma else int(least)
