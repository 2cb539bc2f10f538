"""The hub's own cache on this machine and its environment variables, read by hand: importing the client takes 170 ms.

The layout is huggingface_hub's: `models--ORG--NAME/refs/REVISION` holds a sha, `snapshots/SHA/` the files that were
fetched, all or some. What else there is at the commit says `trees/SHA.json`, which `snapshot_download` leaves (see its
_tree_cache.py), and what there is not, an empty file in `.no_exist/SHA/`. Nothing is ever written here.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelcheck.names import CONVERTIBLE

# As huggingface_hub's validate_repo_id: an optional namespace and a name, each of at most 96 of these characters.
REPO_ID = re.compile(r"(\b[\w\-.]{1,96}\b/)?\b[\w\-.]{1,96}\b", re.ASCII)
SHA = re.compile(r"[0-9a-f]{40}")
TRUE = frozenset({"1", "ON", "YES", "TRUE"})
# A listing takes 100 to 400 bytes a file.
MOST_LISTING = 32 << 20
# The files whose content a rule may read end so; of others it reads the names.
READ = (".json", ".jinja", ".safetensors", "merges.txt", *CONVERTIBLE)


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
    return expanded(os.path.expandvars(said))


def expanded(path: str) -> Path:
    """A path with its `~` written out, where there is such a user: as it stands, like a shell, where there is none."""
    return Path(os.path.expanduser(path))  # noqa: PTH111  pathlib raises for a user that is not there


def known() -> list[str]:
    """The ids of the models in the cache."""
    try:
        names = [entry.name for entry in os.scandir(folder()) if entry.name.startswith("models--")]
    except OSError:
        return []
    return [name.removeprefix("models--").replace("--", "/") for name in names]


def snapshot(repository: str, revision: str) -> tuple[str, Path] | None:
    """(sha, folder) of a revision in the cache, whatever of it is there."""
    place = _place(repository)
    sha = revision if SHA.fullmatch(revision) else _ref(place / "refs" / revision.lstrip("/"))
    here = place / "snapshots" / (sha or "")
    if sha is None or not here.is_dir() or not any(entry.is_file() for entry in here.iterdir()):
        return None
    return sha, here


def tree(repository: str, sha: str) -> Mapping[str, Any] | None:
    """{name: {"size", "blob_id", "lfs_sha256"}} of every file at a commit, where the client has kept that."""
    path = _place(repository) / "trees" / f"{sha}.json"
    try:
        if path.stat().st_size > MOST_LISTING:
            return None
        document = json.loads(path.read_bytes())
        files: Mapping[str, Any] = document["files"]
        return files if document["format_version"] == 1 else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def known_absent(repository: str, sha: str) -> frozenset[str]:
    """Names that the client was told are no files of a commit."""
    place = _place(repository) / ".no_exist" / sha
    return frozenset(path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file())


def is_whole(listed: Mapping[str, int], here: Mapping[str, int]) -> bool:
    """Whether of the files {name: size} of a commit those that a rule may read are all here."""
    return {(name, size) for name, size in listed.items() if name.endswith(READ)} <= here.items()


def _place(repository: str) -> Path:
    return folder() / f"models--{repository.replace('/', '--')}"


def _ref(path: Path) -> str | None:
    if ".." in path.parts:  # an adapter may name any revision of its base
        return None
    try:
        sha = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    return sha if SHA.fullmatch(sha) else None
