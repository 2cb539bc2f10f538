"""The default lint of a checkpoint of 141 GB on a hub: what it transfers and asks for, counted by the server."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from tempfile import TemporaryDirectory

from measure import ENVIRONMENT, ROOT, Row, python, show

sys.path.append(str(ROOT / "tests"))
import large
from fakehub import FakeHub, Request, size

NAME = "org/large"


def rows() -> Iterator[Row]:
    """Row 6 of the table."""
    files = large.checkpoint()
    headers = {name: len(content.header) for name, content in files.items() if isinstance(content, large.Shard)}
    with TemporaryDirectory() as home, FakeHub() as hub:
        hub.add(NAME, files)
        environment = ENVIRONMENT | {"HF_ENDPOINT": hub.url, "HF_HOME": home, "MODELCHECK_CACHE": f"{home}/cache"}
        del environment["HF_HUB_OFFLINE"]
        _lint(environment)
        asked, sent = hub.requests.copy(), hub.sent
        hub.forget()
        _lint(environment, "--offline")
        again = len(hub.requests)
    whole = sum(map(size, files.values()))
    yield Row("default lint of a 70B checkpoint: transferred", sent / 1e6, "", None, 25, "MB")
    yield Row("the same", sent / 1e6, "the whole repository", whole / 1e6, 25 / 140e3, "MB")
    shards = [(request.path.rpartition("/")[2], request) for request in asked if request.path.endswith(".safetensors")]
    for_headers = Counter(name for name, request in shards if _start(request) < headers[name])
    yield Row(f"requests for one of {len(for_headers)} shards, rows aside", max(for_headers.values()), "", None, 2, "")
    yield Row("requests for rows", len(shards) - for_headers.total(), "", None, 40, "")
    yield Row("requests of the same lint again, with --offline", again, "", None, 0, "")


def _lint(environment: dict[str, str], *options: str) -> None:
    command = python("-m", "modelcheck", "lint", NAME, *options)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if "254 of the" not in done.stdout:
        raise SystemExit(f"the untrained rows were not found:\n{done.stdout}{done.stderr}")


def _start(request: Request) -> int:
    """Of the bytes that were asked for."""
    return int((request.range or "bytes=0-").removeprefix("bytes=").partition("-")[0])


if __name__ == "__main__":
    show(rows())
