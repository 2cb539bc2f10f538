"""From the string that a user typed to the source of its bytes: the one place that decides."""

from __future__ import annotations

import os
from pathlib import Path

from modelcheck.errors import UsageError
from modelcheck.sources import Access, Source, hub_cache
from modelcheck.sources.local import LocalFolder


def is_hub_id(target: str | os.PathLike[str]) -> bool:
    """Whether a target means the hub. A path object never does."""
    return isinstance(target, str) and not os.path.lexists(target) and hub_cache.is_repo_id(target)


def open_source(target: str | os.PathLike[str], access: Access) -> Source:
    """A folder if there is one of that name, else a repository on the hub if it may be an id, else a refusal.

    Raises UsageError with what to do.
    """
    if is_hub_id(target):
        from modelcheck.sources.pinning import open_repository

        return open_repository(str(target), access)
    source = LocalFolder(target)
    if access.revision:
        raise UsageError(f"{Path(target)}: is a folder; --revision is for hub ids")
    return source
