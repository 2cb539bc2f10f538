"""SEC002 index-escapes-folder."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.facts.files import Files, some
from modelcheck.facts.weight_index import WeightIndex, escape
from modelcheck.finding import Finding, Severity


@check("SEC002", severity=Severity.ERROR)
def index_escapes_folder(files: Files, weight_indexes: tuple[WeightIndex, ...]) -> Iterator[Finding]:
    """The index of the weights names files outside the checkpoint's folder.

    Symptoms: a downloaded file could do harm

    Why: loaders join the names of the index to the folder without looking at them, so an index that somebody else
    wrote decides which of your files is opened as weights. Saved or served again, what it held travels with the model.

    Common causes:
        - The checkpoint comes from somebody who tries this on you. Solution: do not load it; tell the host.
        - A script wrote paths instead of names into the index. Solution: keep only the file names.
        - Shards were linked from a shared disk. Solution: copy them, or lint the folder they lie in.

    Bad:
        ```json model.safetensors.index.json
        {"weight_map": {"model.norm.weight": "../../other/model.safetensors"}}
        ```
    Good:
        ```json model.safetensors.index.json
        {"weight_map": {"model.norm.weight": "model.safetensors"}}
        ```

    Traps: the hub's own cache links every file of a snapshot to a blob of the same repository. A stale index counts,
    since another loader may read it. Nothing that such a name points to is opened here.

    Sources: transformers 5.23 loads a shard named `../secret.safetensors` (measured); CWE-22.
    """
    for index in weight_indexes:
        first = {shard: tensor for tensor, shard in reversed(list(index.shards.items()))}
        by_reason: dict[str, list[str]] = defaultdict(list)
        for shard in sorted(first):
            if reason := _reason(files, shard):
                by_reason[reason].append(shard)
        for reason, named in by_reason.items():
            yield Finding(
                f"weight_map names {some(named)}, which {reason}, expected names of files in the folder: a loader "
                "opens whatever lies there as weights",
                index.file,
                f"/weight_map/{first[named[0]]}",
            )


def _reason(files: Files, shard: str) -> str | None:
    if reason := escape(shard):
        return reason
    return "is a link that leads out of the folder" if shard in files and files.outside(shard) else None
