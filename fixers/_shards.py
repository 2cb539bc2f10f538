"""An index made of the headers of the shards that are there."""

from __future__ import annotations

import json

from modelcheck.facts.files import Files, some
from modelcheck.facts.tensor_names import PART
from modelcheck.facts.tensors import read_header
from modelcheck.facts.weight_index import INDEX_LIMIT, WeightIndex
from modelcheck.fixer import CannotFix
from modelcheck.names import INDEX


def rebuilt(index: WeightIndex, files: Files) -> bytes:
    """The new content of the index; its metadata stay. Raises CannotFix where the shards are not the whole model."""
    if index.file != INDEX:
        raise CannotFix(f"{index.file} is an index of pickles, which are never opened: save as safetensors")
    shards = [n for n in files if n.endswith(".safetensors") and "/" not in n and not n.startswith("adapter_")]
    _refuse_parts(shards)
    where: dict[str, str] = {}
    size = 0
    for shard in shards:
        for name, tensor in read_header(files, shard).items():
            if name in where:
                raise CannotFix(
                    f"{name} is both in {where[name]} and in {shard}: two saves lie in one folder; delete one"
                )
            where[name] = shard
            size += tensor.stop - tensor.start
    if lost := [name for name in index.shards if name not in where]:
        source = sorted({index.shards[name] for name in lost})
        raise CannotFix(f"no shard holds {some(lost)}: fetch or save again {some(source)}")
    document = files.json_object(INDEX, INDEX_LIMIT)
    metadata = document.get("metadata")
    document["metadata"] = (metadata if isinstance(metadata, dict) else {}) | {"total_size": size}
    document["weight_map"] = dict(sorted(where.items()))
    return (json.dumps(document, indent=2) + "\n").encode()


def _refuse_parts(shards: list[str]) -> None:
    """Raise CannotFix where the numbers in the names say that shards are absent."""
    parts = [match for name in shards if (match := PART.search(name))]
    for match in parts:
        beside = {other[1] for other in parts if other[2] == match[2]}
        if len(beside) < int(match[2]):
            raise CannotFix(
                f"{match.string} is one of {int(match[2])} shards and {len(beside)} are here: fetch the rest"
            )
