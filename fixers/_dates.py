"""Dates in the text of a chat template: found among its tokens, and taken out with the sentence around them.

The template is cut into tokens and never parsed or run here: a template is a program from the internet.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise

from modelcheck.checks.template.template_date_frozen import DATE
from modelcheck.fixer import CannotFix

NOW = "strftime_now"
CHAINED, EMPTY = ("+", "~"), '""'
CLUMSY = "pass one fixed date in training and in use, or edit the template by hand"
# A sentence begins behind another, and ends with its stop or its line.
BREAK = re.compile(r"(?<=[.!?])(?=\s)")
END = re.compile(r"[.!]?(?=\s|[<\[]|$)")


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the template: what jinja2's lexer calls it, and where it stands."""

    kind: str
    value: str
    start: int

    @property
    def stop(self) -> int:
        """Where it ends."""
        return self.start + len(self.value)


@dataclass(frozen=True, slots=True)
class Change:
    """The template without its date: `sentence` finds in a rendered text what is gone, `shown` is an example.

    `variable` is the name under which a caller may still pass a date.
    """

    text: str
    sentence: re.Pattern[str]
    shown: str
    variable: str | None


@dataclass(frozen=True, slots=True)
class Place:
    """Tokens [start, stop) that are a date, and the dates that they come to; `name` is the variable that holds it."""

    start: int
    stop: int
    dates: tuple[str, ...]
    name: str | None = None
    optional: bool = False


def without_date(text: str) -> Change:
    """The template without the one sentence that holds a date. Raises CannotFix where it is not as simple as that."""
    if (breaks := text.count("\r\n")) and breaks == text.count("\n"):
        change = without_date(text.replace("\r\n", "\n"))  # what jinja2 reads anyway
        return replace(change, text=change.text.replace("\n", "\r\n"))
    tokens = [Token("data", "", 0), *_tokens(text), Token("data", "", len(text))]
    written = [*_written(tokens)]
    if len(written) != 1:
        raise CannotFix(f"the template writes a date in {len(written) or 'no'} places that can be told; {CLUMSY}")
    [place] = written
    before, after, cuts = _around(tokens, place)
    sentence = rf"{re.escape(before)}(?:{'|'.join(map(re.escape, place.dates))}){re.escape(after)}"
    cuts += [(t.start, u.stop, EMPTY) for t, u in _defaults(tokens)]
    for start, stop, by in sorted(cuts, reverse=True):
        text = text[:start] + by + text[stop:]
    shown = before + place.dates[0] + after
    return Change(text, re.compile(sentence), shown.strip(), place.name if place.optional else None)


def _tokens(text: str) -> Iterator[Token]:
    import jinja2

    position = 0
    try:
        for _, kind, value in jinja2.Environment(autoescape=False).lexer.tokeniter(text, None):  # noqa: S701
            position = text.index(value, position)  # what the lexer leaves out is blank
            if kind not in ("whitespace", "comment_begin", "comment", "comment_end"):
                yield Token(kind, value, position)
            position += len(value)
    except (jinja2.TemplateSyntaxError, ValueError) as error:
        raise CannotFix(f"the template cannot be cut into tokens; {CLUMSY}") from error


def _dates(tokens: Sequence[Token]) -> Iterator[Place]:
    """Every call of the clock and every literal that is a date."""
    from modelcheck.render.plan import CLOCKS

    for i, token in enumerate(tokens):
        if token.value == NOW and [t.value for t in tokens[i + 1 : i + 4 : 2]] == ["(", ")"]:
            yield Place(i, i + 4, tuple(_formatted(clock, _text(tokens[i + 2])) for clock in CLOCKS))
        elif token.kind == "string" and DATE.fullmatch(_text(token)):
            yield Place(i, i + 1, (_text(token),))


def _written(tokens: Sequence[Token]) -> Iterator[Place]:
    """Where a date is written: a call or a literal by itself, or a variable that holds one."""
    held: dict[str, tuple[str, ...]] = {}
    for date in _dates(tokens):
        before = [t.value for t in tokens[max(0, date.start - 4) : date.start]]
        if _is_set(tokens, date):
            held[before[-2]] = (*held.get(before[-2], ()), *date.dates)
        elif before[1:] in (["|", "default", "("], ["|", "d", "("]):
            yield Place(date.start - 4, date.stop + 1, date.dates, before[0], optional=True)
        else:
            yield date
    asked = {token.value for token, after in pairwise(tokens) if after.value == "is"}
    for i, (token, after) in enumerate(pairwise(tokens)):
        if token.kind == "name" and token.value in held and after.value not in ("=", "is"):
            yield Place(i, i + 1, held[token.value], token.value, token.value in asked)


def _is_set(tokens: Sequence[Token], date: Place) -> bool:
    """`{% set name = date %}`."""
    before = [t.value for t in tokens[max(0, date.start - 3) : date.start : 2]]
    return before == ["set", "="] and tokens[date.stop].kind == "block_end"


def _defaults(tokens: Sequence[Token]) -> Iterator[tuple[Token, Token]]:
    """First and last token of the dates that are set to a variable."""
    return ((tokens[d.start], tokens[d.stop - 1]) for d in _dates(tokens) if _is_set(tokens, d))


def _around(tokens: Sequence[Token], place: Place) -> tuple[str, str, list[tuple[int, int, str]]]:
    """The text of the sentence before and behind the date, and the cuts: [start, stop) and what comes there."""
    left, right = tokens[place.start - 1], tokens[place.stop]
    if left.value in CHAINED and tokens[place.start - 2].kind == "string":
        first = tokens[place.start - 2]
        joined = right.value in CHAINED and tokens[place.stop + 1].kind == "string"
        last = tokens[place.stop + 1] if joined else None
        head, tail = _text(first), _text(last) if last else ""
        before, after = _sentence(head, tail)
        kept = [json.dumps(t, ensure_ascii=False) for t in (head.removesuffix(before),) if t]
        kept += [given] if (given := _if_given(place, before, after)) else []
        kept += [json.dumps(t, ensure_ascii=False) for t in (tail.removeprefix(after),) if t]
        stop = last.stop if last else tokens[place.stop - 1].stop
        return before, after, [(first.start, stop, f" {left.value} ".join(kept) or EMPTY)]
    if left.kind == "variable_begin" and right.kind == "variable_end":
        first, last = tokens[place.start - 2], tokens[place.stop + 1]
        head = first.value if first.kind == "data" and first.stop == left.start else ""
        tail = last.value if last.kind == "data" and last.start == right.stop else ""
        before, after = _sentence(head, tail)
        given = _if_given(place, before, after)
        shown = " ".join((left.value, given or EMPTY, right.value))
        if not given and "-" not in left.value + right.value:  # a minus sign still has blanks to eat
            shown = ""
        return before, after, [(left.start - len(before), right.stop + len(after), shown)]
    raise CannotFix(f"the date is no sentence of its own; {CLUMSY}")


def _if_given(place: Place, before: str, after: str) -> str:
    """The sentence as an expression that is empty where the caller passed no date."""
    if not place.optional:
        return ""
    parts = [
        json.dumps(t, ensure_ascii=False) if t != place.name else t for t in (before, place.name or "", after) if t
    ]
    return f'({" ~ ".join(parts)} if {place.name} else "")'


def _sentence(head: str, tail: str) -> tuple[str, str]:
    """How much of the texts before and behind a date belongs to its sentence; the whole line where it stands alone."""
    line = head.rpartition("\n")[2]
    before = BREAK.split(line)[-1]
    end = END.match(tail)
    if not before.strip() or end is None:
        raise CannotFix(f"the date is no sentence of its own; {CLUMSY}")
    after = end[0]
    rest = tail[len(after) :]
    if before == line and rest[:1] in ("\n", " ") and not before[0].isspace():
        after += rest[:1]
    return before, after


def _formatted(clock: str, form: str) -> str:
    try:
        return datetime.fromisoformat(clock).strftime(form)
    except ValueError as error:
        raise CannotFix(f"no date can be written as {form!r:.40}; {CLUMSY}") from error


def _text(token: Token) -> str:
    """The text that a string literal stands for, as jinja2 reads it. Raises CannotFix for a broken one."""
    if token.kind != "string":
        raise CannotFix(f"the date is not written plainly; {CLUMSY}")
    try:
        text = token.value[1:-1].encode("ascii", "backslashreplace").decode("unicode-escape")
        text.encode()
    except UnicodeError as error:
        raise CannotFix(f"the template has a broken text; {CLUMSY}") from error
    return text
