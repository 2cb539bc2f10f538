"""Mending the configuration of LoRA adapters, and models that LoRA cannot target."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath

from modelcheck.edit import Edit, Note, SetJson
from modelcheck.facts.adapter_config import FILE, Lora
from modelcheck.facts.adapter_tensors import AdapterTensors
from modelcheck.facts.base_modules import BaseModules
from modelcheck.facts.config import Config
from modelcheck.facts.files import some
from modelcheck.facts.fused import FUSED, stored_otherwise
from modelcheck.facts.lora_targets import LoraTargets
from modelcheck.facts.tensors import Tensors
from modelcheck.fixer import CannotFix, fixer
from modelcheck.sources import Source

from ._phi3 import split_config, split_tensors

PATTERNS = ("rank_pattern", "alpha_pattern")


@fixer("lora-fused-qkv", safe=False)
def target_the_names_of_the_base(
    lora: Lora,
    lora_targets: LoraTargets,
    base_modules: BaseModules,
    source: Source,
    adapter_tensors: AdapterTensors | None = None,
) -> Iterator[Edit]:
    """Name the layers as the base has them, for a new training run."""
    if adapter_tensors:
        raise CannotFix("the adapter is trained, and its targets are what it was trained with: train a new one instead")
    if isinstance(lora.targets, str):
        raise CannotFix("target_modules is a regular expression: write one that names the base's own layers")
    found = stored_otherwise(lora, lora_targets, base_modules)
    renamed = {entry: _other_names(entry, whole) for entry, whole in found.items()}
    for key in PATTERNS:
        if named := [p for p in lora.content.get(key) or () for entry in renamed if entry.rpartition(".")[2] in p]:
            raise CannotFix(f"{key} has settings for {some(named)}: decide what they are for the base's own layers")
    targets = list(dict.fromkeys(name for entry in lora.listed for name in renamed.get(entry, [entry])))
    if (place := source.shown(lora.file)) != lora.file:
        raise CannotFix(_outside(place, targets))
    yield SetJson(lora.file, "/target_modules", targets)


@fixer("lora-fused-qkv", safe=False, option="split-fused")
def split_fused_projections(config: Config, tensors: Tensors) -> Iterator[Edit]:
    """Split fused projections into separate ones, so that LoRA can target each."""
    parts = list(split_tensors(config, tensors))
    edits = list(split_config(config))
    yield from parts
    yield from edits
    [kind] = [e.value for e in edits if isinstance(e, SetJson) and e.at == "/model_type"]
    yield Note(
        f"the same numbers under a model of type {kind}; adapters that were trained on the fused layers do not fit it"
    )


def _other_names(entry: str, whole: str) -> list[str]:
    """What the base calls the layers that an entry means, under the same path."""
    path, dot, name = entry.rpartition(".")
    [(parts, _)] = [family for family in FUSED if name in family[0] or name in family[1]]
    return [f"{path}{dot}{other}" for other in ([whole] if name in parts else parts)]


def _outside(place: str, targets: list[str]) -> str:
    names = ", ".join(f'"{name}"' for name in targets)
    said = f"{place} is not part of this folder: set its target_modules to [{names}]"
    if PurePath(place).name == FILE:
        said += f", which `modelcheck fix {PurePath(place).parent} --base DIR --unsafe` does, DIR being this folder"
    return f"{said}; or split the model's layers with --unsafe --split-fused"
