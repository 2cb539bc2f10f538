"""The real models that `tools/fetch.py` brings into .cache/."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

CACHE = Path(__file__).parent.parent.parent / ".cache"


@pytest.fixture(scope="session")
def cached() -> Callable[[str], Path]:
    """The folder of a fetched model, by its name below .cache/."""

    def find(name: str) -> Path:
        if not (CACHE / name).is_dir():
            pytest.fail(f"{name} has not been fetched: run `make slow`, or `python tools/fetch.py` first")
        return CACHE / name

    return find
