"""Runs Python code and writes down what it does to files below a folder: `python watched.py FOLDER REPORT CODE ...`.

Every line of REPORT is an event of Python's own auditing (`open` for writing, `os.rename`, `os.mkdir`, ...) that names
a path below FOLDER.
"""

from __future__ import annotations

import os
import sys
from typing import Any

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGING = (
    "os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.setxattr", "os.symlink",
    "os.truncate", "os.utime", "shutil.", "tempfile.", "sqlite3.connect",
)  # fmt: skip


def changes(event: str, arguments: tuple[Any, ...], below: str) -> bool:
    """Whether an audited event may change something below a folder."""
    if event == "open":
        arguments, flags = arguments[:1], arguments[2]
        if not (isinstance(flags, int) and flags & WRITING):
            return False
    elif not event.startswith(CHANGING):
        return False
    paths = (os.path.realpath(os.fsdecode(path)) for path in arguments if isinstance(path, (str, bytes, os.PathLike)))
    return any(path == below or path.startswith(below + os.sep) for path in paths)


def main() -> None:
    below, report, code, *arguments = sys.argv[1:]
    told = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    below = os.path.realpath(below)

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if changes(event, arguments, below):
            os.write(told, f"{event} {arguments}\n".encode())

    sys.addaudithook(watch)
    sys.argv = ["-c", *arguments]
    exec(code, {"__name__": "__main__"})


if __name__ == "__main__":
    main()
