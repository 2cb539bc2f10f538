"""The seed of one answer, the same in every engine."""

from __future__ import annotations

import hashlib


def seed_of(key: str, seed: int) -> int:
    """The seed of one answer, from the run's seed and the answer's own key (item and repeat)."""
    return int.from_bytes(hashlib.sha256(f"{seed} {key}".encode()).digest()[:7], "big")
