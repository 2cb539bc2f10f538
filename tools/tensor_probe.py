"""Tiny random models of transformers, and the names and shapes that it saves them under."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tensor_families import Family

Header = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Probe:
    """One tiny model: the config it was made of, which switches were on, and the header of what was saved."""

    config: Mapping[str, Any]
    switches: Mapping[str, bool]
    header: Header


def settings(family: Family, number: int, on: frozenset[str]) -> dict[str, Any]:
    """The config keys of probe `number` with these switches on."""
    values = {key: three[number] for key, three in family.dimensions.items()}
    for key, off in family.switches.items():
        values[key] = (values.get(key, True)) if key in on else off
    return {**values, **family.fixed, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def config_of(model_type: str, values: Mapping[str, Any]) -> Any:
    """The config object of transformers."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    return CONFIG_MAPPING[model_type](**values)


def save(config: Any, folder: Path, *, original: bool = True) -> str:
    """Save a random causal model of this config, and say of which class it is."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)  # type: ignore[no-untyped-call]
    model.save_pretrained(folder, save_original_format=original)
    return type(model).__name__


def header(folder: Path) -> Header:
    """{tensor: shape} of the one safetensors file in a folder."""
    raw = (folder / "model.safetensors").read_bytes()
    entries = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    return {name: tuple(entry["shape"]) for name, entry in entries.items() if name != "__metadata__"}


def saved(config: Any, *, original: bool = True) -> Header:
    """The header that a config's model is saved with."""
    with tempfile.TemporaryDirectory() as folder:
        save(config, Path(folder), original=original)
        return header(Path(folder))


def probe(model_type: str, family: Family, number: int, on: frozenset[str], *, original: bool = True) -> Probe:
    """Make, save and read one tiny model."""
    values = settings(family, number, on)
    config = config_of(model_type, values)
    return Probe(values, {key: key in on for key in family.switches}, saved(config, original=original))


def quieten() -> None:
    """No progress bars, no advice on configs, one thread."""
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    import torch
    from transformers.utils import logging as transformers_logging

    torch.set_num_threads(1)
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.disable(logging.WARNING)
