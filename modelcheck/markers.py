"""The texts by which completion-only collators find whose turn it is: `instruction_part` and `response_part`."""

from __future__ import annotations

import os
from collections.abc import Sequence

from modelcheck.facts.tokenizer import Tokenizer
from modelcheck.spans import Turn, common_suffix


class NoMarker(Exception):
    """There is no such text, or a collator would not find it. The text says why."""


def marker(text: str, turns: Sequence[Turn], role: str, tokenizer: Tokenizer | None) -> str:
    """What stands before every message of a role, checked to be found by its ids. Raises NoMarker with the reason."""
    headers = [text[turn.start : turn.content] for turn in turns if turn.role == role]
    # The first turn's header may have a BOS before it, the last answer's an empty thought behind it.
    candidates = [common_suffix(headers), os.path.commonprefix(headers), min(headers, key=len)] if headers else []
    found = next((c for c in candidates if c.strip() and all(c in header for header in headers)), "")
    if not found:
        raise NoMarker(f"the template writes nothing in common before the {role} messages")
    if any(found in text[turn.start : turn.content] for turn in turns if turn.role != role):
        raise NoMarker(f"the template writes {found!r} before messages of other roles too")
    if tokenizer is not None and len(headers) > _occurrences(tokenizer, text, found):
        raise NoMarker(
            f"{found!r} is tokenised otherwise in the conversation than alone, as {tokenizer.encode(found)}: "
            "a collator that looks for these ids does not find it"
        )
    return found


def _occurrences(tokenizer: Tokenizer, text: str, found: str) -> int:
    ids, wanted = tokenizer.encode(text), tokenizer.encode(found)
    return sum(ids[i : i + len(wanted)] == wanted for i in range(len(ids) - len(wanted) + 1))
