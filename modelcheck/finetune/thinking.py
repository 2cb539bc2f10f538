"""Answers without the model's thinking. Strict: thinking that never ends has no answer behind it."""

from __future__ import annotations

import re
from collections.abc import Sequence

TAGS = (("<think>", "</think>"),)


def strip(text: str, tags: Sequence[tuple[str, str]] = TAGS) -> str:
    """What follows the last closing tag, or all of the text where there is no tag; empty where thinking is left open.

    A closing tag alone counts too: many templates write the opening one into the prompt.
    """
    # The longest first: one tag may begin with another.
    words = sorted((word for pair in tags for word in pair), key=len, reverse=True)
    found = list(re.finditer("|".join(map(re.escape, words)), text)) if words else []
    if not found:
        return text
    last = found[-1]
    return text[last.end() :].lstrip() if any(last.group() == end for _, end in tags) else ""
