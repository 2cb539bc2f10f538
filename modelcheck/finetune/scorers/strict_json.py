"""JSON as a model writes it, read by the standard: Python's parser alone takes NaN, and the last of two equal keys."""

from __future__ import annotations

import json
import re
from typing import Any

FENCE = re.compile(r"\A\s*```(?:json)?\s*\n(.*?)\n?```\s*\Z", re.DOTALL | re.IGNORECASE)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(found := dict(pairs)) < len(pairs):
        raise ValueError("a key that is there twice")
    return found


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number in JSON")


# Raises ValueError for what is no JSON, RecursionError for what is nested too deep.
DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse)
