"""From the string that a user typed to the source of its bytes: the one place that decides."""

from __future__ import annotations

import os
import re
from pathlib import Path

from modelcheck.errors import UsageError
from modelcheck.sources import Access, Source, hub_cache
from modelcheck.sources.local import LocalFolder

# A file of a model that is split.
PART = re.compile(r"-\d{5}-of-\d{5}\.gguf$")
# With one of these a folder is a checkpoint, whatever else lies in it.
CHECKPOINT = ("config.json", "tokenizer.json", "tokenizer_config.json", "adapter_config.json")


def is_hub_id(target: str | os.PathLike[str]) -> bool:
    """Whether a target means the hub. A path object never does."""
    return isinstance(target, str) and not os.path.lexists(target) and hub_cache.is_repo_id(target)


def open_source(target: str | os.PathLike[str], access: Access) -> Source:
    """A folder or GGUF file if there is one of that name, else a repository on the hub if it may be an id.

    A folder that holds nothing but one model's GGUFs is that model. Raises UsageError with what to do.
    """
    path = Path(target)
    if path.suffix == ".gguf" and not path.is_dir():
        if not path.exists():
            raise UsageError(f"{path}: no such file")
        return _gguf(path)
    if is_hub_id(target):
        from modelcheck.sources.pinning import open_repository

        return open_repository(str(target), access)
    source = LocalFolder(target)
    if access.revision:
        raise UsageError(f"{path}: is a folder; --revision is for hub ids")
    names = sorted(name for name in source.sizes() if name.endswith(".gguf"))
    if not names or any(n in CHECKPOINT or n.endswith(".safetensors") for n in source.sizes()):
        return source
    if len({PART.sub("", name) for name in names}) > 1:
        raise UsageError(f"{path}: holds {len(names)} GGUF files; name the one to lint, such as {path / names[0]}")
    return _gguf(path / names[0])


def _gguf(path: Path) -> Source:
    from modelcheck.sources.gguf import GgufFile

    return GgufFile(path)
