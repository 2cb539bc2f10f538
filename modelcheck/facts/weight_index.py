"""The index of sharded weights: which shard holds which tensor, and whether the names in it stay in the folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from modelcheck.fact import Malformed, NotApplicable, fact, reads
from modelcheck.names import INDEX, PICKLE_INDEX, PICKLE_SINGLE, SINGLE

from .files import Files, expect, json_type

# The index of the largest published checkpoints known to us (DeepSeek-V3: 91,991 tensors) takes 9 MB.
INDEX_LIMIT = 32 << 20
DRIVE, SEPARATOR = re.compile("[A-Za-z]:"), re.compile(r"[/\\]")


@dataclass(frozen=True, slots=True)
class WeightIndex:
    """{tensor name: shard} as one index file has it, unchecked against the folder."""

    file: str
    shards: Mapping[str, str]


@fact
def weight_indexes(files: Files) -> tuple[WeightIndex, ...]:
    """Every index file of the folder, those that no loader reads included."""
    found = tuple(_read(files, name) for name in (INDEX, PICKLE_INDEX) if name in files)
    if not found:
        files.require(INDEX, "the weights are not sharded")
    return found


def _read(files: Files, name: str) -> WeightIndex:
    weight_map = files.json_object(name, INDEX_LIMIT).get("weight_map")
    if not isinstance(weight_map, dict):
        raise Malformed(name, f"weight_map is a {json_type(weight_map)}, expected an object", at="/weight_map")
    for tensor, shard in weight_map.items():
        expect(name, f"/weight_map/{tensor}", shard, str)
    return WeightIndex(name, weight_map)


@reads(INDEX)
@fact
def weight_index(files: Files) -> WeightIndex:
    """The index that loaders read: they prefer safetensors to pickles, and a single file to shards."""
    for index, single in ((INDEX, SINGLE), (PICKLE_INDEX, PICKLE_SINGLE)):
        if single in files:
            raise NotApplicable(f"loaders read {single}, not an index")
        if index in files:
            return _read(files, index)
    raise NotApplicable("the weights are not sharded")


def escape(name: str) -> str | None:
    """Why a file name of an index is not that of a file directly in the folder; None where it is."""
    if "\0" in name:
        return "holds a NUL byte"
    if name.startswith(("/", "\\")):
        return "is an absolute path"
    if DRIVE.match(name):
        return "names a drive"
    parts = SEPARATOR.split(name)
    if ".." in parts:
        return "climbs out of the folder"
    return "is no plain file name" if len(parts) > 1 or name in ("", ".") else None
