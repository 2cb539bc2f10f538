"""What makes two findings the same fault, whatever else changed around them."""

from __future__ import annotations

import hashlib
import os
import re

from modelcheck.finding import Finding


def fingerprint(target: str, finding: Finding) -> str:
    """A hash of target, rule, file, place and message, without the numbers in the message.

    `models/a/` and `./models/a` are one target, whatever the shell made of its name.
    Line numbers and counts move when something else is edited; the fault is still the same one.
    """
    at = re.sub(r"^[0-9]+:[0-9]+$", "", finding.at or "")
    parts = (os.path.normpath(target), finding.code, finding.file or "", at, re.sub(r"[0-9]+", "#", finding.message))
    return hashlib.sha256("\0".join(parts).encode("utf-8", "backslashreplace")).hexdigest()[:32]
