"""A grammar as plain rules: alternatives of symbols, without groups, repeats or negation.

Engines read those differently (transformers-cfg 0.2.7 lets `[^a-c]` take `c` but nothing beyond U+00FF, and makes
`{0,2}` ask for one); written out as plain rules, they all read the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

# The code points of a character, as inclusive ranges in their order; or the name of a rule.
Ranges = tuple[tuple[int, int], ...]
Symbol = Ranges | str
Alternative = tuple[Symbol, ...]
Rules = Mapping[str, tuple[Alternative, ...]]

ROOT = "root"
# U+0000 is no character to any of the engines, and surrogates are none at all.
EVERYTHING: Ranges = ((0x01, 0xD7FF), (0xE000, 0x10FFFF))
PLAIN = frozenset(map(chr, range(0x20, 0x7F))) - frozenset('"\\[]^-')


@dataclass(frozen=True)
class Grammar:
    """Rules that derive texts from `root`."""

    rules: Rules

    @cached_property
    def text(self) -> str:
        """The rules in the notation that transformers-cfg, xgrammar and vLLM share, one a line, `root` first."""
        names = sorted(self.rules, key=lambda name: name != ROOT)
        lines = (f"{name} ::= {' | '.join(map(_written, self.rules[name]))}\n" for name in names)
        return "".join(lines)

    @cached_property
    def classes(self) -> frozenset[Ranges]:
        """Every set of characters of which it asks for one."""
        symbols = (symbol for rule in self.rules.values() for alternative in rule for symbol in alternative)
        return frozenset(symbol for symbol in symbols if not isinstance(symbol, str))

    @cached_property
    def nullable(self) -> frozenset[str]:
        """The rules that derive the empty text."""
        return self._derived(lambda _: False)

    @cached_property
    def productive(self) -> frozenset[str]:
        """The rules that derive a text at all: the others never come to an end."""
        return self._derived(bool)

    def _derived(self, holds: Callable[[Ranges], bool]) -> frozenset[str]:
        """The rules with an alternative of which every symbol holds, be it characters or another such rule."""
        owners, open_symbols, used = list[str](), list[int](), defaultdict[str, list[int]](list)
        for name, alternatives in self.rules.items():
            for alternative in alternatives:
                if all(isinstance(symbol, str) or holds(symbol) for symbol in alternative):
                    named = [symbol for symbol in alternative if isinstance(symbol, str)]
                    for other in named:
                        used[other].append(len(owners))
                    owners.append(name)
                    open_symbols.append(len(named))
        waiting, known = [owners[i] for i, count in enumerate(open_symbols) if not count], set[str]()
        while waiting:
            if (name := waiting.pop()) in known:
                continue
            known.add(name)
            for i in used[name]:
                open_symbols[i] -= 1
                waiting += [] if open_symbols[i] else [owners[i]]
        return frozenset(known)

    def heads(self, alternative: Alternative) -> Iterator[Symbol]:
        """The symbols with which a text of the alternative may begin."""
        for symbol in alternative:
            yield symbol
            if symbol not in self.nullable:
                return

    @cached_property
    def layers(self) -> tuple[tuple[str, ...], ...]:
        """The rules such that those a text of a rule may begin with are in the layers before it.

        What may begin with itself is in none of them: recognisers that go by stacks would expand it for ever.
        """
        first = {n: {h for a in rule for h in self.heads(a) if isinstance(h, str)} for n, rule in self.rules.items()}
        count, users = {name: len(heads) for name, heads in first.items()}, defaultdict[str, list[str]](list)
        for name, heads in first.items():
            for head in heads:
                users[head].append(name)
        made, layer = [], [name for name in first if not count[name]]
        while layer:
            made.append(tuple(layer))
            following = []
            for user in (user for name in layer for user in users[name]):
                count[user] -= 1
                following += [] if count[user] else [user]
            layer = following
        return tuple(made)

    @cached_property
    def circle(self) -> str | None:
        """A rule that may begin with itself."""
        left = self.rules.keys() - {name for layer in self.layers for name in layer}
        name, passed = min(left, default=None), set[str]()
        while name is not None and name not in passed:
            passed.add(name)
            name = min(h for a in self.rules[name] for h in self.heads(a) if isinstance(h, str) and h in left)
        return name

    @cached_property
    def choices(self) -> int:
        """In how many ways a text of some rule may begin: a recogniser holds a stack for each."""
        ways: dict[str, int] = {}
        for name in (name for layer in self.layers for name in layer):
            heads = [head for alternative in self.rules[name] for head in self.heads(alternative)]
            ways[name] = sum(ways[head] if isinstance(head, str) else 1 for head in heads)
        return max(ways.values(), default=0)

    def begins_with(self, point: int) -> bool:
        """Whether a text may begin with that code point."""
        seen, waiting = {ROOT}, [ROOT]
        while waiting:
            for alternative in self.rules[waiting.pop()]:
                for head in self.heads(alternative):
                    if isinstance(head, str):
                        waiting += [] if head in seen else [head]
                        seen.add(head)
                    elif any(low <= point <= high for low, high in head):
                        return True
        return False

    def behind_a_space(self) -> Grammar:
        """The grammar for tokenizers that drop the first space of an answer: with it, that space is to be had back."""
        space, inner = ((0x20, 0x20),), self._unused("answer")
        rules = {inner if name == ROOT else name: tuple(map(_renaming(inner), r)) for name, r in self.rules.items()}
        with_space: tuple[Alternative, ...] = ((space, inner),)
        # Of a text that begins with a space, the one in front of it is the one that is dropped.
        rules[ROOT] = with_space if self.begins_with(0x20) else (*with_space, (inner,))
        return Grammar(rules)

    def _unused(self, name: str) -> str:
        return name if name not in self.rules else self._unused(name + "-")

    def within(self, alphabet: Iterable[tuple[int, int]]) -> Grammar:
        """The part of the grammar whose texts hold only characters of the alphabet; `root` may derive nothing then."""
        allowed = sorted(alphabet)

        def narrowed(symbol: Symbol) -> Symbol:
            return symbol if isinstance(symbol, str) else intersection(symbol, allowed)

        kept = {name: tuple(tuple(map(narrowed, a)) for a in rule) for name, rule in self.rules.items()}
        alive = Grammar(kept).productive
        return Grammar(
            {
                name: tuple(a for a in rule if all(s in alive if isinstance(s, str) else s for s in a))
                for name, rule in kept.items()
                if name in alive
            }
        )


def _renaming(name: str) -> Callable[[Alternative], Alternative]:
    return lambda alternative: tuple(name if symbol == ROOT else symbol for symbol in alternative)


def intersection(left: Ranges, right: Iterable[tuple[int, int]]) -> Ranges:
    """The code points that are in both."""
    pairs = ((max(a, c), min(b, d)) for a, b in left for c, d in right)
    return tuple(sorted((low, high) for low, high in pairs if low <= high))


def union(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """The ranges in their order, without overlaps or seams."""
    made: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if made and low <= made[-1][1] + 1:
            made[-1] = (made[-1][0], max(high, made[-1][1]))
        else:
            made.append((low, high))
    return tuple(made)


def complement(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Every character that is in none of the ranges."""
    gaps, low = [], 0
    for start, end in union(ranges):
        gaps.append((low, start - 1))
        low = end + 1
    return intersection(EVERYTHING, [*gaps, (low, 0x10FFFF)])


def _written(alternative: Alternative) -> str:
    parts: list[str] = []
    text = ""
    for symbol in alternative:
        if not isinstance(symbol, str) and len(symbol) == 1 and symbol[0][0] == symbol[0][1]:
            text += _escaped(symbol[0][0])
            continue
        parts += [f'"{text}"'] if text else []
        text = ""
        parts.append(symbol if isinstance(symbol, str) else f"[{''.join(map(_range, symbol))}]")
    return " ".join([*parts, f'"{text}"'] if text or not parts else parts)


def _range(pair: tuple[int, int]) -> str:
    low, high = pair
    return _escaped(low) if low == high else f"{_escaped(low)}-{_escaped(high)}"


def _escaped(point: int) -> str:
    if chr(point) in PLAIN:
        return chr(point)
    return f"\\x{point:02x}" if point < 0x80 else f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"
