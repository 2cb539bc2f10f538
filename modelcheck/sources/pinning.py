"""From a hub id to a repository at one commit: what the caches know is not asked for."""

from __future__ import annotations

from contextlib import suppress
from functools import cache

from modelcheck.errors import Unasked, Unreachable, UsageError
from modelcheck.names import TEXT_LIMIT
from modelcheck.sources import Access, hub_cache, hub_listing
from modelcheck.sources.hub import HubRepository
from modelcheck.sources.hub_client import Client
from modelcheck.sources.local import LocalFolder
from modelcheck.sources.transfer import Transfer

# One of these tells whether files may be read at all.
PROBES = ("config.json", "adapter_config.json", "tokenizer_config.json")


def open_repository(repository: str, access: Access) -> HubRepository:
    """A repository by its id, pinned to a commit. Raises UsageError, with what to do."""
    offline = access.offline or hub_cache.is_offline() or access.instead is not None
    transfer = Transfer(repository, announced=access.announced and not offline)
    try:
        opened = _pin(repository, access, transfer, offline=offline)
        # The listing of a gated repository is public, its files are not: learn it now.
        first = next((name for name in PROBES if name in opened.sizes()), None)
        if first:
            size = opened.sizes()[first]
            opened.read(first, 0, size if size <= TEXT_LIMIT else 1)  # what is larger no rule reads
    except Unreachable as reason:
        raise UsageError(f"{repository}: {reason}") from None
    if not opened.sizes():
        raise UsageError(f"{repository}: the repository is empty, there is nothing to lint")
    return opened


def _pin(repository: str, access: Access, transfer: Transfer, *, offline: bool) -> HubRepository:
    """The hub's cache first, then our own where the revision is a commit or there is no network, then the network."""
    endpoint, revision = hub_cache.endpoint(), access.revision or "main"
    client = cache(lambda: Client(endpoint, transfer))
    cached = hub_cache.snapshot(repository, revision)
    sha = cached[0] if cached else revision
    listing = hub_listing.known(endpoint, repository, sha) if hub_cache.SHA.fullmatch(sha) else None
    if cached and listing is None and not offline:
        with suppress(Unreachable):  # a commit that is gone
            listing = hub_listing.ask(client(), repository, sha)
            hub_listing.remember(endpoint, repository, sha, listing)
    whole = cached and listing and hub_cache.is_whole(listing.sizes(), LocalFolder(cached[1]).sizes())
    if offline and not whole:
        listing = hub_listing.remembered(endpoint, repository, revision) or listing
    elif listing is None or not (whole or sha == revision):
        listing = hub_listing.ask(client(), repository, revision)
        hub_listing.remember(endpoint, repository, revision, listing)
    absent = None
    if listing is None and cached:
        listing, absent = hub_listing.of_snapshot(repository, *cached), hub_cache.known_absent(repository, sha)
    if listing is None:
        at = f" at revision {revision!r}" if access.revision else ""
        raise _uncached(f"no such folder, and nothing of it{at} is cached", access)
    local = hub_cache.snapshot(repository, listing.sha)

    def connect(lacking: str) -> Client:
        if offline:
            raise _uncached(lacking, access)
        return client()

    return HubRepository(listing, local[1] if local else None, endpoint, transfer, connect, absent)


def _uncached(lacking: str, access: Access) -> Unreachable:
    """What is said where something is not here and nobody is asked for it."""
    if access.instead:
        return Unasked(f"{lacking} ({access.instead})")
    return Unreachable(f"{lacking}; run once without --offline (HF_HUB_OFFLINE)")
