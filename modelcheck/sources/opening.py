"""From the string that a user typed to the source of its bytes: the one place that decides."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote

from modelcheck.errors import UsageError
from modelcheck.names import CONVERTIBLE
from modelcheck.sources import Access, Source, hub_cache
from modelcheck.sources.local import LocalFolder

# A file of a model that is split.
PART = re.compile(r"-\d{5}-of-\d{5}\.gguf$")
# The page of a model on the hub, and how other programs name a revision.
PAGE = re.compile(r"(?:https?://[^/]+|hf:/)/([^/?#]+/[^/?#]+)(?:/(?:tree|blob|commit)/([^/?#]+))?(?:[/?#].*)?")
AT = re.compile(r"([^@]+)@([^@]+)")
# A file of a checkpoint ends with one of these.
OURS = (".json", ".jinja", ".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".py")
# With one of these a folder is a checkpoint, whatever else lies in it.
CHECKPOINT = ("config.json", "tokenizer.json", "tokenizer_config.json", "adapter_config.json")


def kind(target: str | os.PathLike[str]) -> str:
    """What a target means, there or not: `folder`, `gguf` or `hub`. A path object never means the hub."""
    if str(target).endswith(".gguf") and not Path(target).is_dir():
        return "gguf"
    is_id = isinstance(target, str) and not os.path.lexists(target) and hub_cache.is_repo_id(target)
    return "hub" if is_id else "folder"


def open_source(target: str | os.PathLike[str], access: Access) -> Source:
    """A folder or GGUF file if there is one of that name, else a repository on the hub if it may be an id.

    A folder that holds nothing but one model's GGUFs is that model. Raises UsageError with what to do.
    """
    if target == "":
        raise UsageError("the target is empty (an unset variable?); name a folder, a GGUF file or a hub id")
    if "\0" in str(target):
        raise UsageError(f"{str(target)!r}: no name of a file holds the character NUL")
    path, means = Path(target), kind(target)
    if means == "hub":
        from modelcheck.sources.pinning import open_repository

        return _with_something(str(target), open_repository(str(target), access))
    if access.revision and path.exists():
        raise UsageError(f"{path}: is a {'file' if means == 'gguf' else means}; --revision is for hub ids")
    if means == "gguf":
        if not path.exists():
            raise UsageError(f"{path}: no such file")
        return _gguf(path)
    if not os.path.lexists(path) and (meant := _meant(str(target))):
        raise UsageError(f"{target}: no such folder, and no hub id; for the model on the hub say {meant}")
    source = LocalFolder(target)
    names = sorted(name for name in source.sizes() if name.endswith(".gguf"))
    if not names or any(n in CHECKPOINT or n.endswith(".safetensors") for n in source.sizes()):
        return _with_something(str(path), source)
    if len({PART.sub("", name) for name in names}) > 1:
        raise UsageError(f"{path}: holds {len(names)} GGUF files; name the one to lint, such as {path / names[0]}")
    return _gguf(path / names[0])


def _with_something(target: str, source: Source) -> Source:
    """The source, if it holds a file that a rule reads. Raises UsageError: nothing to check must not read as fine."""
    names = sorted(source.sizes())
    if any(name.endswith(OURS) or name in CONVERTIBLE for name in names):
        return source
    if packed := next((name for name in names if name.endswith(".gguf")), None):
        raise UsageError(f"{target}: holds GGUFs, which are read on this machine: `hf download {target} {packed}`")
    raise UsageError(f"{target}: holds no configuration, tokenizer, template or weights, there is nothing to lint")


def _meant(target: str) -> str | None:
    """The id, and the revision, of a model whose page or whose ID@REVISION was named."""
    found = PAGE.fullmatch(target) or AT.fullmatch(target)
    if not found or not hub_cache.is_repo_id(found[1]):
        return None
    return f"{found[1]} --revision {unquote(found[2])}" if found[2] else found[1]


def _gguf(path: Path) -> Source:
    from modelcheck.sources.gguf import GgufFile

    return GgufFile(path)
