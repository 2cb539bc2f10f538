"""What a saved checkpoint says otherwise than its base about how its weights and texts are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from modelcheck.fact import NotApplicable, fact

from .config import Config
from .files import Files, JsonObject
from .rope import LEGACY_NAMES, ropes

PROCESSORS = ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")
# Read off each by itself.
APART = ("type", "rope_type", "partial_rotary_factor")
PLAIN = ("model_type", "architectures")


@dataclass(frozen=True, slots=True)
class Difference:
    """One place: what it holds, and what the base has there. `at` None means the whole file."""

    file: str
    at: str | None
    own: Any
    base: Any


@fact
def differences(
    files: Files,
    config: Config,
    base_files: Files,
    base_config: Config,
    tokenizer_config: JsonObject | None = None,
    base_tokenizer_config: JsonObject | None = None,
) -> tuple[Difference, ...]:
    """The differences from the base; two spellings of the same thing are none."""
    found = [*_of_config(config, base_config)]
    if tokenizer_config is not None and base_tokenizer_config is not None:
        own, base = (part.get("tokenizer_class") for part in (tokenizer_config, base_tokenizer_config))
        if base is not None and own != base:
            found.append(Difference("tokenizer_config.json", "/tokenizer_class", own, base))
    found += [Difference(n, None, None, n) for n in PROCESSORS if n in base_files and n not in files]
    return tuple(found)


def _of_config(own: Config, base: Config) -> Iterator[Difference]:
    for key in PLAIN:
        if base.root.get(key) is not None and own.root.get(key) != base.root[key]:
            yield Difference(own.file, f"/{key}", own.root.get(key), base.root[key])
    if base.root.get("auto_map") and _modules(own.root.get("auto_map")) != _modules(base.root["auto_map"]):
        yield Difference(own.file, "/auto_map", own.root.get("auto_map"), base.root["auto_map"])
    partial = _partial(base)
    if partial is not None and _partial(own) != partial:
        yield Difference(own.file, f"{own.text_at}/partial_rotary_factor", _partial(own), partial)
    mine, theirs = _rope(own), _rope(base)
    # A theta that is not written is the default of its class, whatever that is.
    known = {key for key in mine.keys() | theirs.keys() if key != "rope_theta" or key in mine.keys() & theirs.keys()}
    if any(mine.get(key) != theirs.get(key) for key in known):
        yield Difference(own.file, own.text_where("rope_parameters")[0], mine, theirs)


def _modules(auto_map: Any) -> Any:
    """The map without the repositories that saving puts before the modules' names."""
    if not isinstance(auto_map, dict):
        return auto_map
    return {key: value.rpartition("--")[2] if isinstance(value, str) else value for key, value in auto_map.items()}


def _partial(config: Config) -> Any:
    """The share of each head that is rotated, as transformers 5 finds it; None where it is not written."""
    key = "partial_rotary_factor"
    parameters = config.text_where("rope_parameters")[1]
    inside = parameters.get(key) if isinstance(parameters, dict) else None
    return config.text_where(key)[1] if inside is None else inside


def _rope(config: Config) -> Mapping[str, Any]:
    """Every number of the rotary embedding under one spelling, per kind of layer where they are nested."""
    found: dict[str, Any] = {}
    try:
        parts = ropes(config)
    except NotApplicable:
        parts = ()
    for part in parts:
        layer = part.at.rpartition("/")[2] if part.at.count("/") > config.text_at.count("/") + 1 else ""
        values = {key: value for key, value in part.values.items() if key not in APART}
        kind = LEGACY_NAMES.get(part.type, part.type) if isinstance(part.type, str) else part.type
        values |= {} if kind == "default" else {"rope_type": kind}
        found |= {f"{layer}{'.' if layer else ''}{key}": value for key, value in values.items()}
    theta = config.text_where("rope_theta")[1]
    return {"rope_theta": theta, **found} if theta is not None else found
