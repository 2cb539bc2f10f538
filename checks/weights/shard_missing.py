"""WGT003 shard-missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from modelcheck.check import check
from modelcheck.fact import Missing
from modelcheck.facts.files import Files, some
from modelcheck.facts.tensors import Shard
from modelcheck.facts.weight_index import WeightIndex, escape
from modelcheck.finding import Finding, Severity


@check("WGT003", severity=Severity.ERROR)
def shard_missing(
    files: Files, weight_index: WeightIndex, shards: Mapping[str, Shard], weights: str
) -> Iterator[Finding]:
    """The index names shards or tensors that are not in the folder.

    Symptoms: loading or serving fails

    Why: a loader that finds a shard missing stops with an error, at the start of a job that waited for its GPUs. A
    tensor missing from a shard that is there is worse: most loaders fill it with random numbers and only warn.

    Common causes:
        - A download or a save was cut short. Solution: fetch the shards named in the message again.
        - Shards of one save lie beside the index of another. Solution: delete both and save again.
        - The model was saved under other file names than its index says. Solution: write the index anew.

    Bad:
        ```json renamed.json
        {"model.safetensors": "model-00001-of-00001.safetensors"}
        ```
        ```json model.safetensors.index.json
        {"weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors"}}
        ```
    Good:
        ```json model.safetensors.index.json
        {"weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors"}}
        ```

    Traps: loaders prefer `model.safetensors`, so a stale index beside it does no harm. A git-LFS pointer is in the
    folder; malformed-file reports it. A tensor that lies in another shard than the index says is loaded all the same.

    Fix safety: safe, where all shards are in the folder and every tensor that the index names is in one of them: the
    index is written anew from their headers, and its metadata stay. A shard that is really absent, and two shards that
    hold one tensor, cannot be mended.

    Sources: unsloth#2355, unsloth#1122; safetensors' index as transformers writes it.
    """
    named = {shard for shard in set(weight_index.shards.values()) if escape(shard) is None}
    absent = {shard for shard in named if shard not in files}
    if absent and weights == "none" and len(absent) == len(named):
        raise Missing("no shard is in the folder, and no weights were asked for")
    if absent:
        tensors = sum(shard in absent for shard in weight_index.shards.values())
        yield Finding(
            f"not in the folder: {some(sorted(absent))}, {len(absent)} of the {len(named)} shards that "
            f"{weight_index.file} names, with {tensors} of its {len(weight_index.shards)} tensors; expected all of "
            "them, loading fails",
            weight_index.file,
            "/weight_map",
        )
    at_hand = {name for shard in shards.values() for name in shard.tensors}
    whole = {name for name, shard in shards.items() if shard.broken is None}
    lost = [name for name, shard in weight_index.shards.items() if shard in whole and name not in at_hand]
    if lost:
        yield Finding(
            f"in no shard: {some(lost)}, {len(lost)} of the {len(weight_index.shards)} tensors that "
            f"{weight_index.file} names; expected all of them: loaders fail, or fill them with random numbers",
            weight_index.file,
            "/weight_map",
        )
