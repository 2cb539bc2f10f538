"""One process at a time, and whoever waits is told for whom."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

# The workers of one run of xdist have it in common; that they wait for each other is nothing to tell.
ONE_RUN = "PYTEST_XDIST_TESTRUNUID"


class Lock:
    """The lock of a folder, freed with the process that holds it, however that ends; its holder may enter it again.

    `tell` gets one line for each process that is waited for. Beside the lock, `lock.json` says who holds it.
    """

    def __init__(self, path: Path, tell: Callable[[str], None]) -> None:
        from filelock import FileLock

        self._path, self._tell = path, tell
        self._lock = FileLock(path)
        self._beside = path.with_suffix(".json")
        self._told: set[object] = set()

    def __enter__(self) -> Lock:
        if not self._free():
            self._announce()
            self._lock.acquire()
        if self._lock.lock_counter == 1:
            mine = {"pid": os.getpid(), "host": socket.gethostname(), "since": _now(), "run": os.environ.get(ONE_RUN)}
            with suppress(OSError):  # a full disk is told where more is lost than a name
                self._beside.write_text(json.dumps(mine), encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock.lock_counter == 1:
            self._beside.unlink(missing_ok=True)
        self._lock.release()

    def look(self) -> None:
        """Tell who holds it, where somebody else does, and go on."""
        if self._free():
            self._lock.release()
        else:
            self._announce()

    def _free(self) -> bool:
        from filelock import Timeout

        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        return True

    def _announce(self) -> None:
        holder = self._holder()
        is_ours = holder.get("run") is not None and holder.get("run") == os.environ.get(ONE_RUN)
        if is_ours or holder.get("pid") in self._told:
            return
        self._told.add(holder.get("pid"))
        who = "process {pid} on {host} works since {since}".format(**holder) if holder else "another process works"
        self._tell(f"{self._path.parent}: {who}; this one waits until it is done")

    def _holder(self) -> dict[str, Any]:
        try:
            found = json.loads(self._beside.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}  # it came or went just now
        return found if isinstance(found, dict) and {"pid", "host", "since"} <= found.keys() else {}


def _now() -> str:
    return datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
