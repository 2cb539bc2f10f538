"""The names of tensors without what a wrapper put before them."""

from __future__ import annotations

import re
from collections.abc import Iterable

OUTER = re.compile(r"^(?:module\.|base_model\.model\.)")
COMPILED = re.compile(r"(^|\.)_orig_mod\.")
# A prefix added once more stands before the head as well.
DOUBLED = re.compile(r"^model\.(?=model\.|lm_head\.|embed_out\.)")


def unwrapped(names: Iterable[str], *, doubled: bool) -> dict[str, str]:
    """{name: name without wrappers, of which there may be several}; `doubled`: `model.model.` is one too many."""
    return {name: _unwrapped(name, doubled) for name in names}


def _unwrapped(name: str, doubled: bool) -> str:
    while (shorter := OUTER.sub("", COMPILED.sub(r"\1", name))) != name:
        name = shorter
    return DOUBLED.sub("", name) if doubled else name
