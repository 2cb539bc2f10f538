"""A server that speaks the hub's API, as PERF.md measured it, for the real client and for ours.

    with FakeHub() as hub:
        hub.add("org/name", {"config.json": b"{}"})
        ...
        assert hub.requests[0].path == "/api/models/org/name/revision/main"

A data set is called `datasets/org/name`. `hub.fault` makes it misbehave; every request and every byte sent is on
record.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha1, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

TOKEN = "hf_goodtoken"
# From this size on a file lies in large-file storage, whose digest is of another kind.
LARGE = 10 << 20
API = re.compile(r"/api/(?:models/|(?=datasets/))(.+?)(?:/(revision|tree|paths-info)/([^/]+)(?:/(.+))?)?")


class Content(Protocol):
    """A file too large to be held: its size, and any range of it."""

    size: int

    def read(self, start: int, stop: int) -> bytes: ...


@dataclass
class Repository:
    id: str
    files: Mapping[str, bytes | Content]
    sha: str
    gated: bool = False
    private: bool = False
    revisions: Mapping[str, Repository] = field(default_factory=dict)

    def at(self, revision: str) -> Repository | None:
        """What it is at a branch, tag, `refs/pr/N` or commit."""
        known = {"main": self, self.sha: self, **self.revisions, **{one.sha: one for one in self.revisions.values()}}
        return known.get(revision)


@dataclass
class Request:
    method: str
    path: str
    range: str | None
    authorization: str | None
    status: int = 0
    sent: int = 0


@dataclass
class Fault:
    """What goes wrong at a request; the defaults are an answer as it should be."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    ignores_range: bool = False
    seconds: float = 0.0
    cut: bool = False
    tag: str | None = None
    damaged: bool = False
    other_range: bool = False
    trickle: float = 0.0
    afterwards: Callable[[], object] | None = None


class FakeHub:
    """`url` is its HF_ENDPOINT. `elsewhere` is a second host that large files are redirected to.

    `busiest` is the largest number of requests that it has had to answer at a time.
    """

    def __init__(self, elsewhere: FakeHub | None = None) -> None:
        self.repositories: dict[str, Repository] = {}
        self.renamed: dict[str, str] = {}
        self.requests: list[Request] = []
        self.elsewhere = elsewhere
        self.busiest = self._busy = 0
        self._lock = threading.Lock()
        self.fault: Callable[[int, Request], Fault | None] = lambda number, request: None
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> FakeHub:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add(self, name: str, files: Mapping[str, bytes | Content], **how: Any) -> Repository:
        sha = sha1(name.encode() + b"".join(n.encode() + digest(c).encode() for n, c in sorted(files.items())))
        self.repositories[name] = Repository(name, files, sha.hexdigest(), **how)
        return self.repositories[name]

    @property
    def sent(self) -> int:
        """Bytes of all bodies."""
        return sum(request.sent for request in self.requests)

    @property
    def sent_of_files(self) -> int:
        """The same of files, without listings."""
        return sum(request.sent for request in self.requests if "/resolve/" in request.path)

    def forget(self) -> None:
        self.requests.clear()
        self.busiest = 0

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Count a request that is being answered."""
        with self._lock:
            self._busy += 1
            self.busiest = max(self.busiest, self._busy)
        try:
            yield
        finally:
            with self._lock:
                self._busy -= 1

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        return type("Handler", (_Handler,), {"hub": self})


def size(content: bytes | Content) -> int:
    return len(content) if isinstance(content, bytes) else content.size


def digest(content: bytes | Content) -> str:
    """As the hub gives it: of large files the content's sha256, of small ones git's sha1 of the blob."""
    if not isinstance(content, bytes):
        return sha256(str(content.size).encode()).hexdigest()
    if len(content) >= LARGE:
        return sha256(content).hexdigest()
    return sha1(b"blob %d\0" % len(content) + content).hexdigest()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *args: Any) -> None:
        """Clients go away in the middle of an answer: that is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FakeHub

    def log_message(self, *args: Any) -> None:
        """Say nothing: requests are kept and counted, not printed."""

    def do_HEAD(self) -> None:
        with self.hub.answering():
            self._serve()

    def do_GET(self) -> None:
        with self.hub.answering():
            self._serve()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        with self.hub.answering():
            self._serve()

    def _serve(self) -> None:
        self.request_ = Request(
            self.command, unquote(self.path), self.headers.get("range"), self.headers.get("authorization")
        )
        self.hub.requests.append(self.request_)
        self.fault = self.hub.fault(len(self.hub.requests), self.request_) or Fault()
        time.sleep(self.fault.seconds)
        if self.fault.status:
            self._answer(self.fault.status, b"", self.fault.headers)
        else:
            self._route(urlsplit(self.path).path)

    def _route(self, path: str) -> None:
        # A slash of a revision is quoted, one between the parts is not.
        api = API.fullmatch(path)
        resolve = re.fullmatch(r"/(.+?)/resolve/([^/]+)/(.+)", path)
        if api:
            name, what, revision = api[1], api[2] or "revision", unquote(api[3] or "main")
        elif resolve:
            name, revision, what = resolve[1], unquote(resolve[2]), "resolve"
        else:
            return self._refuse(404, "RepoNotFound")
        if name in self.hub.renamed:
            return self._answer(307, b"", {"location": self.path.replace(name, self.hub.renamed[name], 1)})
        repository, known = self.hub.repositories.get(name), self.request_.authorization == f"Bearer {TOKEN}"
        if self.request_.authorization not in (None, f"Bearer {TOKEN}", "Bearer hf_other"):
            return self._answer(401, b"", {"x-error-message": "Invalid credentials in Authorization header"})
        if repository is None or (repository.private and not known):
            return self._refuse(404 if self.request_.authorization else 401, "RepoNotFound")
        repository = repository.at(revision)
        if repository is None:
            return self._refuse(404, "RevisionNotFound")
        if resolve:
            if repository.gated and not known:
                return self._refuse(403 if self.request_.authorization else 401, "GatedRepo")
            return self._file(repository, unquote(resolve[3]))
        below = f"{unquote(api[4])}/" if api and api[4] else ""
        entries = [_entry(n, c) for n, c in repository.files.items() if n.startswith(below)]
        if below and not entries:
            return self._refuse(404, "EntryNotFound")
        if what != "revision":
            return self._json(entries)
        siblings = [
            {"rfilename": e["path"], "size": e["size"], "blobId": e["oid"], "lfs": e.get("lfs")} for e in entries
        ]
        return self._json({"id": repository.id, "sha": repository.sha, "siblings": siblings, "tags": []})

    def _file(self, repository: Repository, name: str) -> None:
        if name not in repository.files:
            return self._refuse(404, "EntryNotFound", {"x-repo-commit": repository.sha})
        content = repository.files[name]
        tag = self.fault.tag or digest(content)
        headers = {"x-repo-commit": repository.sha, "etag": f'"{tag}"', "accept-ranges": "bytes"}
        if self.hub.elsewhere and size(content) >= LARGE:
            headers |= {"x-linked-etag": f'"{tag}"', "x-linked-size": str(size(content))}
            headers |= {"etag": '"not-the-digest"', "location": self.hub.elsewhere.url + self.path}
            return self._answer(302, b"", headers)
        start, stop, status = 0, size(content), 200
        if (asked := re.fullmatch(r"bytes=(\d+)-(\d+)", self.request_.range or "")) and not self.fault.ignores_range:
            start, stop, status = int(asked[1]), min(int(asked[2]) + 1, stop), 206
            start -= bool(start and self.fault.other_range)
            headers["content-range"] = f"bytes {start}-{stop - 1}/{size(content)}"
        if self.command == "HEAD":
            return self._answer(status, b"", headers, length=stop - start)
        # A server that ignores Range offers everything; nobody should take it.
        some = min(stop, start + (1 << 20)) if self.fault.ignores_range else stop
        body = content[start:some] if isinstance(content, bytes) else content.read(start, some)
        if self.fault.damaged:
            body = bytes([body[0] ^ 1]) + body[1:]
        return self._answer(status, body, headers, length=stop - start)

    def _json(self, value: Any) -> None:
        self._answer(200, json.dumps(value).encode(), {"content-type": "application/json"})

    def _refuse(self, status: int, code: str, headers: Mapping[str, str] | None = None) -> None:
        self._answer(status, b"", {"x-error-code": code, **(headers or {})})

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str], length: int | None = None) -> None:
        self.request_.status = status
        try:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body) if length is None else length))
            self.end_headers()
            sent = body[: len(body) // 2] if self.fault.cut else body
            step = 1 if self.fault.trickle else max(1, len(sent))
            for at in range(0, len(sent), step):
                time.sleep(self.fault.trickle)
                self.wfile.write(sent[at : at + step])
                self.request_.sent = min(len(sent), at + step)
            if self.fault.afterwards:
                self.wfile.flush()
                self.fault.afterwards()
        except OSError:  # whoever asked has gone
            self.close_connection = True
        # Of HEAD nothing more is to come, and the connection stays.
        if self.fault.cut or (self.command != "HEAD" and (length or 0) > len(body)):
            self.close_connection = True


def _entry(name: str, content: bytes | Content) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": name, "size": size(content), "oid": digest(content)[:40]}
    if size(content) >= LARGE or not isinstance(content, bytes):
        entry["lfs"] = {"oid": digest(content), "sha256": digest(content), "size": size(content), "pointerSize": 135}
    return entry
