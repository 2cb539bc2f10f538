"""What goes over the wire: counted always, announced beforehand and drawn as a bar where it is much."""

from __future__ import annotations

import sys
import threading
from typing import Any

# Below this nobody waits long enough to want to be told.
MUCH = 4 << 20


class Transfer:
    """The bytes of one source. `read` counts those of files that came over the network, in failed attempts too."""

    def __init__(self, name: str, *, announced: bool) -> None:
        """Nothing is written to standard error unless `announced`."""
        self._name, self._announced = name, announced
        self.read = 0
        self._owed = 0
        self._bar: Any = None
        self._lock = threading.Lock()

    def expect(self, size: int, what: str) -> None:
        """Say that `size` bytes are about to come, unless an earlier announcement covers them."""
        with self._lock:
            if size <= self._owed:
                return
            new, self._owed = size - self._owed, size
            if not self._announced or new < MUCH:
                return
        self.tell(f"{megabytes(new)} to come ({what})")
        if sys.stderr.isatty() and not _is_worker():
            self._draw(new)

    def tell(self, text: str) -> None:
        """Say something about the network, where anything is said."""
        if self._announced:
            print(f"modelcheck: {self._name}: {text}", file=sys.stderr)  # noqa: T201

    def advance(self, size: int) -> None:
        """Count bytes that have come."""
        with self._lock:
            self.read += size
            self._owed = max(0, self._owed - size)
            if self._bar is not None:
                self._bar.advance(0, size)
                if not self._owed:
                    self._take_away()

    def close(self) -> None:
        """Take the bar away."""
        with self._lock:
            self._take_away()

    def _take_away(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _draw(self, size: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        with self._lock:
            if self._bar is None:
                columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
                self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
                self._bar.add_task(self._name, total=0)
                self._bar.start()
            self._bar.update(0, total=self._bar.tasks[0].total + size)


def _is_worker() -> bool:
    """Whether this is one of several processes of a run: their bars would wipe each other away, and the report."""
    from multiprocessing import current_process

    return current_process().name != "MainProcess"


def megabytes(size: float) -> str:
    """A number of bytes as people say it: 21 MB, 141 GB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "bytes" or size >= 10 else f"{size:.1f} {unit}"
