"""What a check reports: one fault, where it lies, how bad it is and how sure we are."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Severity(enum.IntEnum):
    """How bad the fault is if it is true."""

    INFO = 1
    WARNING = 2
    ERROR = 3

    def __str__(self) -> str:
        return self.name.lower()


class Confidence(enum.IntEnum):
    """How sure the check is. Findings of low confidence are hidden unless `--pedantic` asks for them."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault.

    `message` states the observed value, the expected value and the consequence, without a full stop.
    `file` is relative to the checkpoint; `at` is a JSON pointer, a tensor name or `line:column` in it.
    A check leaves `code` and `slug` empty and may lower `severity`: the check's own severity is the ceiling.
    """

    message: str
    file: str | None = None
    at: str | None = None
    severity: Severity = Severity.ERROR
    confidence: Confidence = Confidence.HIGH
    code: str = ""
    slug: str = ""
