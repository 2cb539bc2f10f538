"""Reading a judge's reply: strict about the verdict, tolerant of what stands around it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

LONGEST_REASON = 2000
# A line with the verdict and nothing else, marked up or not: `**Verdict: yes**`, but not `7/10` nor `not yes`.
ALONE = re.compile(r"[^\w-]*(?:verdict[^\w-]+)?(-?\w+)\W*")
# No reply is that long; a server that heeds no limit shall not keep us busy.
LONGEST_REPLY = 20_000
DECODER = json.JSONDecoder()
# What may stand behind the verdict: the end of a list or a fence. Behind a quoted one, or a thought, text goes on.
BEHIND = re.compile(r"[\s\]`]*")


@dataclass(frozen=True, slots=True)
class Vote:
    """One verdict, a word of the grades, and what the judge said before it. None: the reply could not be read."""

    verdict: str | None
    reason: str = ""


def read(text: str, parse: str, grades: Mapping[str, float]) -> Vote | None:
    """The vote in a reply; None where there is no verdict that is known."""
    return (_from_json if parse == "json" else _from_last_word)(text[-LONGEST_REPLY:], grades)


def _from_json(text: str, grades: Mapping[str, float]) -> Vote | None:
    """Of several objects, as of a judge that thinks aloud or quotes, the last one counts, if nothing follows it."""
    *_, (last, end) = [({}, 0), *_objects(text)]
    if not BEHIND.fullmatch(text, end):
        return None
    verdict, reason = word(last.get("verdict"), grades), last.get("reason")
    known = verdict in grades
    return Vote(verdict, (reason if isinstance(reason, str) else "").strip()[:LONGEST_REASON]) if known else None


def _from_last_word(text: str, grades: Mapping[str, float]) -> Vote | None:
    reason, _, last = text.rstrip().rpartition("\n")
    alone = ALONE.fullmatch(last.casefold())
    verdict = alone[1] if alone else None
    return Vote(verdict, reason.strip()[:LONGEST_REASON]) if verdict in grades else None


def _objects(text: str) -> Iterator[tuple[dict[str, Any], int]]:
    """The JSON objects in a text, outermost ones, in order, each with its end."""
    start = text.find("{")
    while start >= 0:
        try:
            found, end = DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            end = start + 1
        else:
            if isinstance(found, dict):
                yield found, end
        start = text.find("{", end)


def word(verdict: Any, grades: Mapping[str, float]) -> str | None:
    """A verdict as the grades spell it: `true` is true or yes, 4.0 is 4; None for what is no word."""
    if isinstance(verdict, bool):
        spelt = str(verdict).casefold()
        return spelt if spelt in grades else "yes" if verdict else "no"
    if isinstance(verdict, float) and verdict.is_integer():
        return str(int(verdict))
    return str(verdict).strip().strip(".").casefold() if isinstance(verdict, str | int) else None
