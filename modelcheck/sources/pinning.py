"""From a hub id to a repository at one commit: what the caches know is not asked for."""

from __future__ import annotations

from pathlib import Path

from modelcheck.errors import Unreachable, UsageError
from modelcheck.sources import Access, hub_cache, hub_listing
from modelcheck.sources.hub import HubRepository
from modelcheck.sources.hub_client import Client
from modelcheck.sources.hub_listing import Listing
from modelcheck.sources.local import LocalFolder
from modelcheck.sources.transfer import Transfer

# One of these tells whether files may be read at all.
PROBES = ("config.json", "adapter_config.json", "tokenizer_config.json")


def open_repository(repository: str, access: Access) -> HubRepository:
    """A repository by its id, pinned to a commit. Raises UsageError, with what to do."""
    offline = access.offline or hub_cache.is_offline()
    transfer = Transfer(repository, announced=access.announced and not offline)
    try:
        opened = _pin(repository, access.revision, transfer, offline=offline)
        # The listing of a gated repository is public, its files are not: learn it now.
        first = next((name for name in PROBES if name in opened.sizes()), None)
        if first:
            opened.read(first, 0, opened.sizes()[first])
    except Unreachable as reason:
        raise UsageError(f"{repository}: {reason}") from None
    if not opened.sizes():
        raise UsageError(f"{repository}: the repository is empty, there is nothing to lint")
    return opened


def _pin(repository: str, asked_for: str | None, transfer: Transfer, *, offline: bool) -> HubRepository:
    """The hub's cache first, then our own where the revision is a commit or there is no network, then the network."""
    endpoint, revision = hub_cache.endpoint(), asked_for or "main"
    cached = hub_cache.snapshot(repository, revision)
    if cached and hub_cache.is_whole(cached[1], (entry.name for entry in cached[1].iterdir() if entry.is_file())):
        return HubRepository(_of_snapshot(repository, *cached), cached[1], endpoint, transfer, None)
    fixed = offline or hub_cache.SHA.fullmatch(revision)
    listing = hub_listing.remembered(endpoint, repository, revision) if fixed else None
    client = None if offline else Client(endpoint, transfer)
    if listing is None and client:
        listing = hub_listing.ask(client, repository, revision)
        hub_listing.remember(endpoint, repository, revision, listing)
    if listing is None and cached:
        listing = _of_snapshot(repository, *cached)
    if listing is None:
        at = f" at revision {revision!r}" if asked_for else ""
        raise Unreachable(
            f"no such folder, and nothing of it{at} is cached; run once without --offline (HF_HUB_OFFLINE)"
        )
    local = hub_cache.snapshot(repository, listing.sha)
    return HubRepository(listing, local[1] if local else None, endpoint, transfer, client)


def _of_snapshot(repository: str, sha: str, folder: Path) -> Listing:
    sizes = LocalFolder(folder).sizes()
    return Listing(repository, sha, {name: (size, None) for name, size in sizes.items()}, sum(sizes.values()))
