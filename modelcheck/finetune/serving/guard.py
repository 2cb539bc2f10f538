"""Runs a command for as long as its own standard input stays open: `python guard.py NAME COMMAND...`, run by path.

Whoever started it holds the other end. When that one is gone, however it went, the command is ended with everything
that it started. What it prints is passed on without the value of the environment variable NAME, which may be empty.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress

GRACE = 10.0
# After the command itself has ended: what its children hold may never be closed.
LAST_WORDS = 1.0


def main() -> None:
    """Run the command; its process group, ours too, is gone afterwards."""
    secret, command = os.environ.get(sys.argv[1], "").encode(), sys.argv[2:]
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=_stoppable,  # noqa: PLW1509  nothing runs beside it yet
        )
    except OSError as error:
        sys.exit(f"{command[0]} cannot be run: {error.strerror}")
    printing = threading.Thread(target=_pass_on, args=(child, secret), daemon=True)
    printing.start()
    threading.Thread(target=_end_with_stdin, args=(child,), daemon=True).start()
    status = child.wait()
    printing.join(LAST_WORDS)
    print(f"[ended with status {status}]", flush=True)  # noqa: T201  into the log
    os.killpg(0, signal.SIGKILL)


def _stoppable() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _pass_on(child: subprocess.Popen[bytes], secret: bytes) -> None:
    for line in child.stdout or ():
        sys.stdout.buffer.write(line.replace(secret, b"(hidden)") if secret else line)
        sys.stdout.buffer.flush()


def _end_with_stdin(child: subprocess.Popen[bytes]) -> None:
    while os.read(0, 4096):
        pass  # what comes is of no interest, only that it ends
    os.killpg(0, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        child.wait(GRACE)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
