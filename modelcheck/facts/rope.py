"""The rotary position embedding, as transformers 5 and vLLM read it from config.json."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from modelcheck.fact import NotApplicable, fact

from .config import Config
from .files import JsonObject, expect

KEYS = ("rope_scaling", "rope_parameters")
# {legacy: modern}: the same embedding under its old name.
LEGACY_NAMES = {"su": "longrope", "mrope": "default"}


@dataclass(frozen=True, slots=True)
class Rope:
    """One object of RoPE parameters: its place in config.json, the key it stands under, and what it says."""

    at: str
    key: str
    values: JsonObject

    @property
    def type(self) -> Any:
        """The type that readers take: `rope_type`, else the legacy `type`, else default."""
        return self.values.get("rope_type", self.values.get("type", "default"))

    @property
    def conflict(self) -> bool:
        """Whether both are there and say different things."""
        legacy, modern = self.values.get("type"), self.values.get("rope_type")
        if legacy is None or modern is None or legacy == modern:
            return False
        return not (isinstance(legacy, str) and LEGACY_NAMES.get(legacy) == modern)


@fact
def ropes(config: Config) -> tuple[Rope, ...]:
    """Every object of RoPE parameters of the language model; one for each kind of layer where they are nested."""
    found = tuple(_ropes(config))
    if not found:
        raise NotApplicable("config.json has no RoPE parameters")
    return found


def _ropes(config: Config) -> Iterator[Rope]:
    for key in KEYS:
        at, value = config.text_where(key)
        if value is None:
            continue
        values = expect(config.file, at, value, dict)
        nested = {name: part for name, part in values.items() if isinstance(part, dict)}
        if nested and not {"rope_type", "type"} & values.keys():
            yield from (Rope(f"{at}/{name}", key, part) for name, part in nested.items())
        elif values:
            yield Rope(at, key, values)
