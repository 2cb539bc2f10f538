"""A checkpoint on the hub: small files and exact ranges of the large ones, by HTTP Range, as they are asked for.

The hub's own cache is read where it has a file, and never written: what is fetched goes to modelcheck's own cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

from modelcheck import cache
from modelcheck.cache import Pieces
from modelcheck.errors import Unreachable
from modelcheck.sources import Pinned, Span, hub_listing
from modelcheck.sources.hub_client import Answer, Client
from modelcheck.sources.hub_listing import Listing
from modelcheck.sources.local import LocalFolder
from modelcheck.sources.side_by_side import side_by_side
from modelcheck.sources.transfer import Transfer, megabytes

# Enough to hide the latency, few enough for a server to bear.
AT_ONCE = 8
# Bytes between two ranges that cost less than a request of their own.
GAP = 128 << 10
# What is read from end to end comes in steps of this size; more than TOGETHER is not fetched before it is asked for.
STEP, TOGETHER = 2 << 20, 64 << 20
# A run that reads more than this keeps the rest no longer than it needs it.
KEPT = cache.LIMIT // 2
# The same where our cache cannot be written, and memory has to do.
HELD = 64 << 20


class HubRepository:
    """A repository at one commit."""

    kind = "hub"
    absent: Mapping[str, str] = {}

    def __init__(
        self,
        listing: Listing,
        snapshot: Path | None,
        endpoint: str,
        transfer: Transfer,
        connect: Callable[[str], Client],
        known_absent: frozenset[str] | None = None,
    ) -> None:
        """Files of `snapshot`, a folder of the hub's cache, are read there.

        `connect` gives the client that fetches the rest, or, told what is lacking, raises Unreachable where nobody is
        to be asked. With `known_absent` the listing may lack files, but not of these names.
        """
        self.listing, self._endpoint, self._transfer = listing, endpoint, transfer
        self._connect, self._known_absent = connect, known_absent
        self._local = LocalFolder(snapshot) if snapshot else None
        here = self._local.sizes() if self._local else {}
        self._here = {name for name, (size, _) in listing.files.items() if here.get(name) == size}
        self._pieces: dict[str, Pieces] = {}
        self._kept = self._held = 0

    def sizes(self) -> Mapping[str, int]:
        return self.listing.sizes()

    def refuse_unknown(self, name: str) -> None:
        if self._known_absent is not None and name not in self._known_absent | self.listing.files.keys():
            self._connect(
                "not in the hub's cache, which has a part of the repository and no list of its files, so that nobody "
                "knows whether there is such a file"
            )

    def read(self, name: str, start: int, stop: int) -> bytes:
        if self._local and name in self._here:
            return self._local.read(name, start, stop)
        # A second time for what another process has just cleared away.
        for _ in range(2):
            self._fetch({name: [(start, stop)]})
            data = self._of(name).get(start, stop)
            if data is not None:
                return data
        raise Unreachable(f"the pieces of {name} vanish from {cache.place()}; is another process clearing it?")

    def stream(self, name: str, start: int, stop: int, chunk: int) -> Iterator[memoryview]:
        if self._local and name in self._here:
            yield from self._local.stream(name, start, stop, chunk)
            return
        ahead = max(chunk, AT_ONCE * STEP // chunk * chunk)
        self._transfer.expect(sum(b - a for a, b in self._of(name).holes(start, stop)), name)
        for low in range(start, stop, ahead):
            high = min(stop, low + ahead)
            data = memoryview(self._window(name, low, high))
            yield from (data[at : at + chunk] for at in range(0, high - low, chunk))

    def shown(self, name: str) -> str:
        return name

    def outside(self, name: str) -> str | None:
        return None

    def expect(self, spans: Iterable[Span]) -> None:
        """Fetch together what is about to be read, neighbouring ranges as one; only announce what is too much."""
        wanted: dict[str, list[tuple[int, int]]] = {}
        for name, start, stop in spans:
            if name not in self._here and start < stop:
                wanted.setdefault(name, []).append((start, stop))
        missing = {name: self._holes(name, spans) for name, spans in wanted.items()}
        size = sum(stop - start for holes in missing.values() for start, stop in holes)
        self._transfer.expect(size, _some(name for name, holes in missing.items() if holes))
        if size <= TOGETHER:
            self._fetch(missing)

    def pinned(self) -> list[Pinned]:
        """The commit, and how much was read of it."""
        return [Pinned(self.listing.id, self.listing.sha, self._transfer.read, self.listing.total)]

    def close(self) -> None:
        """Make room in our cache, and take the bar away."""
        self._transfer.close()
        if self._kept:
            cache.trim()

    def _of(self, name: str) -> Pieces:
        if name not in self._pieces:
            self._pieces[name] = Pieces(self.listing.id, self._endpoint, self.listing.sha, name)
        return self._pieces[name]

    def _holes(self, name: str, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """What is not here of some spans, as few ranges."""
        return _together([hole for span in _together(spans) for hole in self._of(name).holes(*span)])

    def _window(self, name: str, start: int, stop: int) -> bytes:
        steps = [(at, min(at + STEP, stop)) for at in range(start, stop, STEP)]
        if self._kept > KEPT or self._held > HELD:
            return b"".join(self._come([(name, step) for step in steps]))
        self._keep([(name, hole) for step in steps for hole in self._of(name).holes(*step)])
        return self.read(name, start, stop)

    def _fetch(self, spans: Mapping[str, list[tuple[int, int]]]) -> None:
        """Have the spans here, as few ranges as make sense."""
        self._keep([(name, hole) for name, asked in spans.items() for hole in self._holes(name, asked)])

    def _keep(self, wanted: list[tuple[str, tuple[int, int]]]) -> None:
        self._transfer.expect(sum(stop - start for _, (start, stop) in wanted), _some({name for name, _ in wanted}))
        for (name, (start, _)), data in zip(wanted, self._come(wanted), strict=True):
            on_disk = self._of(name).put(start, data)
            self._kept += len(data)
            self._held += 0 if on_disk else len(data)

    def _come(self, wanted: list[tuple[str, tuple[int, int]]]) -> Iterator[bytes]:
        """The bytes of ranges, several asked for at once."""
        if not wanted:
            return
        client = self._connect(f"{wanted[0][0]} is not cached")
        yield from side_by_side(lambda one: self._bytes(client, *one), wanted, AT_ONCE)

    def _bytes(self, client: Client, name: str, span: tuple[int, int]) -> bytes:
        size, digest = self.listing.files[name]
        if span[1] > size:
            raise OSError(f"ends at byte {size}")
        path = f"/{self.listing.id}/resolve/{self.listing.sha}/{quote(name)}"
        answer = client.get(path, size, span)
        whole = span == (0, size)
        if len(answer.body) != span[1] - span[0]:
            raise Unreachable(_unusable(client, self.listing, name, answer))
        if _tells_otherwise(answer.own, self.listing.sha, digest) or (
            whole and not self.listing.is_content(name, answer.body)
        ):
            raise Unreachable(
                f"{client.endpoint} sends another {name} than it lists for {self.listing.sha}; is a proxy or mirror "
                "out of date?"
            )
        return answer.body


def _together(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The spans in order, those that are near each other joined."""
    joined: list[tuple[int, int]] = []
    for start, stop in sorted(spans):
        if joined and start - joined[-1][1] <= GAP:
            joined[-1] = joined[-1][0], max(stop, joined[-1][1])
        else:
            joined.append((start, stop))
    return joined


def _some(names: Iterable[str]) -> str:
    first, *more = sorted(names) or [""]
    return f"{first} and {len(more)} more files" if more else first


def _tells_otherwise(headers: Mapping[str, str], sha: str, digest: str | None) -> bool:
    """Whether the hub's own headers name another commit, or another content, than the listing."""
    tag = (headers.get("x-linked-etag") or headers.get("etag") or "").removeprefix("W/").strip('"')
    commit = headers.get("x-repo-commit", sha)
    # A mirror may have tags of its own making; one of the same form is the same digest.
    return commit != sha or (digest is not None and len(tag) == len(digest) and tag != digest)


def _unusable(client: Client, listing: Listing, name: str, answer: Answer) -> str:
    instead = f"`hf download {listing.id}` and lint it again"
    if "x-xet-hash" in answer.own and answer.headers.get("content-length") != str(listing.files[name][0]):
        return f"{client.endpoint} gives {name} through Xet alone, which has no plain ranges; {instead}"
    if answer.status == 200:
        size = megabytes(listing.files[name][0])
        return f"{client.endpoint} ignores Range requests and would send all of {name} ({size}); {instead}"
    return hub_listing.refusal(client, listing.id, listing.sha, answer)
