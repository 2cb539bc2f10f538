"""adapter_config.json: what PEFT is to train, or trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelcheck.fact import Malformed, NotApplicable, fact, reads

from .files import Files, JsonObject, expect, json_type, shorten

FILE = "adapter_config.json"
ALL_LINEAR = "all-linear"
# The largest rank that anybody can mean: vLLM serves up to 512.
MOST_RANK = 1 << 20
# DeepSeek-V3 has 45,000 linear layers; a module's name has some 100 characters.
MOST_NAMES, MOST_ITEMS, LONGEST = 100_000, 1_000, 1_000


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """The whole file, and what every kind of adapter has."""

    content: JsonObject
    peft_type: str
    base: str | None
    file: str = FILE


@dataclass(frozen=True, slots=True)
class Lora:
    """The configuration of a LoRA adapter, held to the types that PEFT expects.

    `targets`: a tuple of names, one string (a regular expression or `all-linear`), or None where PEFT is to choose.
    """

    content: JsonObject
    base: str | None
    rank: int
    targets: tuple[str, ...] | str | None
    excluded: tuple[str, ...] | str
    parameters: tuple[str, ...]
    saved: tuple[str, ...]
    rank_pattern: Mapping[str, int]
    layers: tuple[int, ...]
    layers_pattern: tuple[str, ...]
    file: str = FILE

    @property
    def all_linear(self) -> bool:
        """Whether the target is every linear layer but the head."""
        return isinstance(self.targets, str) and self.targets.lower() == ALL_LINEAR

    @property
    def listed(self) -> tuple[str, ...]:
        """The targets that are names."""
        return self.targets if isinstance(self.targets, tuple) else ()

    def is_on(self, key: str) -> bool:
        """Whether a switch is set."""
        return bool(self.content.get(key))


@reads(FILE)
@fact
def adapter_config(files: Files) -> AdapterConfig:
    """adapter_config.json of any kind of adapter."""
    files.require(FILE, "there is no adapter_config.json")
    content = files.json_object(FILE)
    kind = content.get("peft_type", "LORA")
    base = content.get("base_model_name_or_path")
    return AdapterConfig(
        content,
        str(expect(FILE, "/peft_type", kind, str)).rpartition(".")[2].upper(),
        None if base is None else expect(FILE, "/base_model_name_or_path", base, str),
    )


@fact
def lora(adapter_config: AdapterConfig) -> Lora:
    """The configuration of a LoRA adapter."""
    if adapter_config.peft_type != "LORA":
        raise NotApplicable(f"the adapter is {adapter_config.peft_type}, not LoRA")
    content = adapter_config.content
    rank = content.get("r", 8)
    pattern = content.get("rank_pattern") or {}
    for key, value in expect(FILE, "/rank_pattern", pattern, dict).items():
        _rank(f"/rank_pattern/{key}", value)
    targets = content.get("target_modules")
    excluded = content.get("exclude_modules") or ()
    return Lora(
        content,
        adapter_config.base,
        _rank("/r", rank),
        targets if targets is None or isinstance(targets, str) else _items("target_modules", targets, str),
        excluded if isinstance(excluded, str) else _items("exclude_modules", excluded, str),
        _items("target_parameters", content.get("target_parameters"), str),
        _items("modules_to_save", content.get("modules_to_save"), str),
        pattern,
        _items("layers_to_transform", content.get("layers_to_transform"), int),
        _items("layers_pattern", content.get("layers_pattern"), str),
    )


def _rank(at: str, value: Any) -> int:
    if not 0 < expect(FILE, at, value, int) <= MOST_RANK:
        raise Malformed(FILE, f"{at.rpartition('/')[2]} is {shorten(value)}, expected a rank of at least 1", at=at)
    return int(value)


def _items(key: str, value: Any, kind: type) -> tuple[Any, ...]:
    """A list whose items are of one type, or one such item, or null."""
    if value is None or value == ():
        return ()
    if type(value) is kind:
        value = [value]
    if not isinstance(value, list):
        raise Malformed(FILE, f"{key} is a {json_type(value)}, expected a list", at=f"/{key}")
    if len(value) > (MOST_NAMES if key in ("target_modules", "target_parameters", "exclude_modules") else MOST_ITEMS):
        raise Malformed(FILE, f"{key} has {len(value)} items, more than any model has use for", at=f"/{key}")
    for i, item in enumerate(value):
        if len(str(expect(FILE, f"/{key}/{i}", item, kind))) > LONGEST:
            raise Malformed(FILE, f"{key} has an item of more than {LONGEST} characters", at=f"/{key}/{i}")
    return tuple(value)
