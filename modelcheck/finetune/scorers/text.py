"""Scorers that compare text: the whole of it, a part of it, a choice."""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

from modelcheck.dataset.example import Example
from modelcheck.errors import UsageError
from modelcheck.finetune.scorers.options import Options, Scorer

NORMALIZE: Mapping[str, Callable[[str], str]] = {
    "strip": str.strip,
    "casefold": str.casefold,
    "whitespace": lambda text: " ".join(text.split()),
    "punctuation": lambda text: text.translate(str.maketrans("", "", string.punctuation)),
    "articles": lambda text: re.sub(r"\b(a|an|the)\b", " ", text, flags=re.IGNORECASE),
    "unicode": lambda text: unicodedata.normalize("NFKC", text),
}


def exact(options: Options) -> Scorer:
    """1 where the answer is the reference, or one of a list of references, after `normalize` (default: strip)."""
    normal, wanted = _normalizers(options)
    return lambda answer, item: float(normal(answer) in wanted(item))


def contains(options: Options) -> Scorer:
    """1 where the reference, or one of a list of references, stands somewhere in the answer."""
    normal, wanted = _normalizers(options)
    return lambda answer, item: float(any(reference in normal(answer) for reference in wanted(item)))


def choice(options: Options) -> Scorer:
    """1 where the first of `choices` (default A to D) that the answer names as a word by itself is the reference."""
    wanted = "a list of different words, such as ['A', 'B']"
    choices = options.take("choices", list, wanted, ["A", "B", "C", "D"])
    if not choices or not all(isinstance(c, str) and c.strip() for c in choices) or len(set(choices)) < len(choices):
        options.refuse("choices", wanted)
    word = re.compile(
        r"(?<!\w)(?:" + "|".join(re.escape(c) for c in sorted(choices, key=len, reverse=True)) + r")(?!\w)"
    )

    def score(answer: str, item: Example) -> float:
        if item.reference not in choices:
            raise UsageError(
                f"{options.place}: the reference {item.reference!r} is none of the choices {', '.join(choices)}"
            )
        named = word.search(answer)
        return float(named is not None and named.group() == item.reference)

    return score


def references(reference: Any) -> list[str]:
    """The texts of a reference, any of which is right: a number as it prints, a list as its members, null as none."""
    given = reference if isinstance(reference, list) else [reference]
    return [r if isinstance(r, str) else str(r) for r in given if r is not None]


def is_blank(reference: Any) -> bool:
    """Whether there is nothing in a reference, or in one of its texts, that answers can be compared with."""
    found = references(reference)
    return not found or any(not text.strip() for text in found)


def _normalizers(options: Options) -> tuple[Callable[[str], str], Callable[[Example], list[str]]]:
    """What makes of an answer, and of an item's references, the texts that are compared."""
    among = f"a list of {', '.join(NORMALIZE)}"
    names = options.take("normalize", list, among, ["strip"])
    if not all(isinstance(name, str) and name in NORMALIZE for name in names):
        options.refuse("normalize", among)

    def normal(text: str) -> str:
        for name in names:
            text = NORMALIZE[name](text)
        return text

    def wanted(item: Example) -> list[str]:
        found = {reference: normal(reference) for reference in references(item.reference)}
        if emptied := [reference for reference, left in found.items() if not left.strip()]:
            raise UsageError(
                f"{options.place}: normalize = {names} leaves nothing of the reference {emptied[0]!r} of {item.place}, "
                "expected something to compare answers with: wrong ones would be right; normalize less, or leave such "
                "rows out"
            )
        return [*found.values()]

    return normal, wanted
