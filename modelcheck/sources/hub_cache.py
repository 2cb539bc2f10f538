"""The hub's own cache on this machine and its environment variables, read by hand: importing the client takes 170 ms.

The layout is huggingface_hub's: `models--ORG--NAME/refs/REVISION` holds a sha, `snapshots/SHA/` the files. Nothing is
ever written here.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path

from modelcheck.names import CONVERTIBLE, INDEX, SINGLE

# As huggingface_hub's validate_repo_id: an optional namespace and a name, each of at most 96 of these characters.
REPO_ID = re.compile(r"(\b[\w\-.]{1,96}\b/)?\b[\w\-.]{1,96}\b", re.ASCII)
SHA = re.compile(r"[0-9a-f]{40}")
TRUE = frozenset({"1", "ON", "YES", "TRUE"})
# An index is read here only to see whether all its shards are there.
MOST_INDEX = 32 << 20


def is_repo_id(text: str) -> bool:
    """Whether the hub could have a repository of that name."""
    return bool(REPO_ID.fullmatch(text)) and not ("--" in text or ".." in text or text.endswith(".git"))


def endpoint() -> str:
    """HF_ENDPOINT, or the public hub."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set."""
    return is_set("HF_HUB_OFFLINE") or is_set("TRANSFORMERS_OFFLINE")


def is_set(variable: str) -> bool:
    """Whether an environment variable says yes, as huggingface_hub understands it."""
    return os.environ.get(variable, "").upper() in TRUE


def folder() -> Path:
    """HF_HUB_CACHE, else `hub` in HF_HOME, else the place that huggingface_hub takes without either."""
    said = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if not said:
        home = os.environ.get("HF_HOME")
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
        said = os.path.join(home or os.path.join(cache, "huggingface"), "hub")
    return Path(os.path.expandvars(said)).expanduser()


def known() -> list[str]:
    """The ids of the models in the cache."""
    try:
        names = [entry.name for entry in os.scandir(folder()) if entry.name.startswith("models--")]
    except OSError:
        return []
    return [name.removeprefix("models--").replace("--", "/") for name in names]


def snapshot(repository: str, revision: str) -> tuple[str, Path] | None:
    """(sha, folder) of a revision in the cache, whatever of it is there."""
    place = folder() / f"models--{repository.replace('/', '--')}"
    sha = revision if SHA.fullmatch(revision) else _ref(place / "refs" / revision.lstrip("/"))
    here = place / "snapshots" / (sha or "")
    if sha is None or not here.is_dir() or not any(entry.is_file() for entry in here.iterdir()):
        return None
    return sha, here


def _ref(path: Path) -> str | None:
    if ".." in path.parts:  # an adapter may name any revision of its base
        return None
    try:
        sha = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    return sha if SHA.fullmatch(sha) else None


def is_whole(place: Path, names: Iterable[str]) -> bool:
    """Whether a snapshot with these files has the weights, and for a model its vocabulary: nothing is to be fetched."""
    here = set(names)
    if {"adapter_config.json", "adapter_model.safetensors"} <= here and "config.json" not in here:
        return True
    if "config.json" not in here or here.isdisjoint({"tokenizer.json", *CONVERTIBLE}):
        return False
    return SINGLE in here or (INDEX in here and _shards(place / INDEX) <= here)


def _shards(index: Path) -> set[str]:
    """The shards that an index names; one that cannot be had where it is unreadable."""
    unreadable = {""}
    try:
        if index.stat().st_size > MOST_INDEX:
            return unreadable
        return set(json.loads(index.read_bytes())["weight_map"].values()) or unreadable
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return unreadable
