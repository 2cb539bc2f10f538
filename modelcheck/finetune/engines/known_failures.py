"""Failures of engines that are known by what they print."""

from __future__ import annotations

import re
from collections.abc import Sequence

# (pattern in the text, what to do); the first that is found counts.
Failures = Sequence[tuple[str, str]]


def known(text: str, failures: Failures) -> tuple[int, str] | None:
    """The place in the text where the first of these failures ends, and what helps; None where it tells of none."""
    found = ((re.search(pattern, text), remedy) for pattern, remedy in failures)
    return next(((match.end(), remedy) for match, remedy in found if match), None)
