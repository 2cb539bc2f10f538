"""Which source a target's name stands for."""

from __future__ import annotations

import os
import re
from pathlib import Path

from modelcheck.errors import UsageError
from modelcheck.sources import Source
from modelcheck.sources.local import LocalFolder

# A file of a model that is split.
PART = re.compile(r"-\d{5}-of-\d{5}\.gguf$")
# With one of these a folder is a checkpoint, whatever else lies in it.
CHECKPOINT = ("config.json", "tokenizer.json", "tokenizer_config.json", "adapter_config.json")


def opened(target: str | os.PathLike[str]) -> Source:
    """The source of a target: a folder, a GGUF file, or a folder that holds only GGUFs. Raises UsageError for none."""
    path = Path(target)
    if path.suffix == ".gguf" and not path.is_dir():
        if not path.exists():
            raise UsageError(f"{path}: no such file")
        return _gguf(path)
    folder = LocalFolder(target)
    names = sorted(name for name in folder.sizes() if name.endswith(".gguf"))
    if not names or any(n in CHECKPOINT or n.endswith(".safetensors") for n in folder.sizes()):
        return folder
    if len({PART.sub("", name) for name in names}) > 1:
        raise UsageError(f"{path}: holds {len(names)} GGUF files; name the one to lint, such as {path / names[0]}")
    return _gguf(path / names[0])


def _gguf(path: Path) -> Source:
    from modelcheck.sources.gguf import GgufFile

    return GgufFile(path)
