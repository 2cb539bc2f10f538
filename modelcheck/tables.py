"""Tables that ship with modelcheck: what other programs' releases know, made by the scripts in tools/."""

from __future__ import annotations

import functools
import json
from importlib.resources import files
from typing import Any

DATA = files("modelcheck") / "data"


@functools.cache
def load(name: str) -> Any:
    """The JSON document of that name below modelcheck/data/."""
    return json.loads((DATA / name).read_text(encoding="utf-8"))


@functools.cache
def vllm_versions() -> tuple[tuple[int, ...], ...]:
    """The versions of vLLM that there is a table of, the oldest first."""
    names = (entry.name.removesuffix(".json") for entry in (DATA / "vllm").iterdir() if entry.name.endswith(".json"))
    return tuple(sorted(tuple(map(int, name.split("."))) for name in names))
