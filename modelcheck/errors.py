"""What goes wrong outside the checkpoint: told in one line, without a traceback."""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Iterable


class UsageError(Exception):
    """The user asked for something that cannot be done. The text is the whole message."""


class PackError(Exception):
    """A rule pack or fact is wrongly written. For the author of the pack: names file and line."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest known word, or nothing."""
    near = difflib.get_close_matches(word, sorted(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def raised_at(bug: BaseException) -> str:
    """` (file:line)` of the innermost frame, for the report of an internal error."""
    frames = traceback.extract_tb(bug.__traceback__)
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""


class Unreachable(OSError):
    """Something on the network could not be had. The text says why and what to do; trying again may help."""


class Unasked(Unreachable):
    """It is not on this machine, and the run asks nobody by itself: the base of a folder's adapter."""
