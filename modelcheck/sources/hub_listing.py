"""What a repository on the hub holds at one commit: asked for once, kept in our own cache."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha1, sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

from modelcheck.cache import Pieces
from modelcheck.errors import Unreachable, did_you_mean
from modelcheck.names import TEMPLATE_FOLDER, TEXT_LIMIT
from modelcheck.sources import hub_cache
from modelcheck.sources.hub_client import Answer, Client
from modelcheck.sources.local import LocalFolder


@dataclass(frozen=True, slots=True)
class Listing:
    """`id` as the hub spells it, the commit, and {name: (size, digest)} of the files that a checkpoint may consist of.

    A digest is git's of a blob (sha1, 40 digits), or of the content (sha256, 64) where the file lies in large-file
    storage. `total` is the size of everything in the repository, in bytes.
    """

    id: str
    sha: str
    files: Mapping[str, tuple[int, str | None]]
    total: int

    def sizes(self) -> dict[str, int]:
        """{name: size in bytes}."""
        return {name: size for name, (size, _) in self.files.items()}

    def is_content(self, name: str, content: bytes) -> bool:
        """Whether this is the file's whole content, as far as the digest tells."""
        size, digest = self.files[name]
        if digest is None or len(content) != size:
            return digest is None
        made = sha256(content) if len(digest) == 64 else sha1(b"blob %d\0" % size + content, usedforsecurity=False)
        return made.hexdigest() == digest


def ask(client: Client, repository: str, revision: str) -> Listing:
    """The listing of a revision. Raises Unreachable, with what to do."""
    path = f"/api/models/{repository}/revision/{quote(revision, safe='')}?blobs=true"
    try:
        answer = client.get(path, TEXT_LIMIT)
    except Unreachable as reason:
        raise Unreachable(f"no such folder, and {reason}") from None
    if answer.status != 200:
        raise Unreachable(refusal(client, repository, revision, answer))
    try:
        document = json.loads(answer.body)
        listed = {item["rfilename"]: _entry(item) for item in document["siblings"]}
        sha, name = document["sha"], document.get("id", repository)
        if not (hub_cache.SHA.fullmatch(sha) and hub_cache.is_repo_id(name)):
            raise ValueError
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise Unreachable(f"{client.endpoint} does not answer as a hub; is HF_ENDPOINT right?") from None
    return _listing(name, sha, listed)


def known(endpoint: str, repository: str, sha: str) -> Listing | None:
    """The listing of a commit that the hub's own cache has, or that an earlier run has kept."""
    if (tree := hub_cache.tree(repository, sha)) is not None:
        try:
            entries = {
                file: _entry({"size": of["size"], "lfs": {"sha256": of.get("lfs_sha256")}, "blobId": of["blob_id"]})
                for file, of in tree.items()
            }
            return _listing(repository, sha, entries)
        except (ValueError, TypeError, KeyError, AttributeError):
            pass  # written by nobody that we know
    return remembered(endpoint, repository, sha)


def of_snapshot(repository: str, sha: str, folder: Path) -> Listing:
    """What a folder of the hub's cache holds, which may be a part of the commit."""
    sizes = LocalFolder(folder).sizes()
    return Listing(repository, sha, {name: (size, None) for name, size in sizes.items()}, sum(sizes.values()))


def _listing(repository: str, sha: str, entries: Mapping[str, tuple[int, str | None]]) -> Listing:
    own = {file: entry for file, entry in sorted(entries.items()) if _is_ours(file)}
    return Listing(repository, sha, own, sum(size for size, _ in entries.values()))


def _is_ours(file: str) -> bool:
    """Whether a file lies where checkpoints have theirs, under a plain name: it will be one on somebody's disk."""
    plain = file.removeprefix(f"{TEMPLATE_FOLDER}/")
    return plain not in ("", ".", "..") and not any(character in plain for character in "/\\\0")


def _entry(item: Mapping[str, Any]) -> tuple[int, str | None]:
    size = item["size"]
    if type(size) is not int or not 0 <= size < 1 << 63:
        raise ValueError
    digest = (item.get("lfs") or {}).get("sha256") or item.get("blobId")
    return size, digest if isinstance(digest, str) and len(digest) in (40, 64) else None


def remembered(endpoint: str, repository: str, revision: str) -> Listing | None:
    """The listing that an earlier run has kept."""
    sha = revision
    if not hub_cache.SHA.fullmatch(revision):
        sha = (Pieces(repository, endpoint, "revision", revision).whole() or b"").decode("ascii", "replace")
    try:
        document = json.loads(Pieces(repository, endpoint, "listing", sha).whole() or b"null")
        files = {name: (int(size), digest) for name, (size, digest) in document["files"].items()}
        return Listing(document["id"], document["sha"], files, document["total"])
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def remember(endpoint: str, repository: str, revision: str, listing: Listing) -> None:
    """Keep a listing for `remembered`, under the name that was asked for."""
    Pieces(repository, endpoint, "revision", revision).put(0, listing.sha.encode())
    Pieces(repository, endpoint, "listing", listing.sha).put(0, json.dumps(asdict(listing)).encode())


def refusal(client: Client, repository: str, revision: str, answer: Answer) -> str:
    """What an answer other than the bytes means, and what to do."""
    code, page = answer.headers.get("x-error-code"), f"{client.endpoint}/{repository}"
    if code == "GatedRepo":
        if client.has_token:
            return (
                f"is gated, and your token has no access: accept its licence at {page}, or use a token that may read it"
            )
        return f"is gated: accept its licence at {page}, then `hf auth login` or set HF_TOKEN"
    if code == "RevisionNotFound":
        return f"has no revision {revision!r}; {page}/commits/main lists them"
    if code == "EntryNotFound":
        return "lists a file that cannot be had (EntryNotFound); try again"
    said = answer.headers.get("x-error-message", "")
    if answer.status == 401 and "credentials" in said:
        return "cannot be asked for: the hub refuses your token; `hf auth login`, or unset HF_TOKEN"
    if code == "RepoNotFound" or answer.status in (401, 404):
        near = did_you_mean(repository, hub_cache.known())
        login = "with a token that may read it" if client.has_token else "after `hf auth login` or with HF_TOKEN"
        return f"no such folder, and {client.endpoint} has no such model, or a private one{near}; private: {login}"
    return f"{client.endpoint} answers {answer.status}{f' ({said})' if said else ''}; try again later"
