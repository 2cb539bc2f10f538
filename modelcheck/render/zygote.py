"""The renderer's process: imports jinja2 once, then forks a child for every template and outlives what that does.

Run by path, with `-I`: of modelcheck it imports this folder alone, so that it starts fast. Requests and answers are
JSON, each behind its length in eight bytes, on stdin and stdout.
"""

from __future__ import annotations

import codecs
import gc
import importlib
import json
import os
import resource
import select
import signal
import sys
import time
from typing import BinaryIO

# Where the parent found jinja2; and, last, the folder above this one, so that this one is the package `render`.
sys.path[:0] = sys.argv[1:]
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
work = importlib.import_module("render.work")

# What Python and jinja2 import only when it is needed, which a child can no longer do: it may open no file.
LAZY = ("jinja2.constants", "jinja2.debug", "pprint", "textwrap", "unicodedata")
CODECS = ("ascii", "idna", "latin-1", "unicode_escape", "utf-16", "utf-32", "utf-8-sig")

MEMORY, CPU_SECONDS, WALL_SECONDS = 512 << 20, 2, 3.0
ANSWER_LIMIT = 64 << 20
SLOW = f"it ran for more than {WALL_SECONDS:.0f} seconds"


def receive(stream: BinaryIO) -> bytes | None:
    """One message, or None at the end of the stream."""
    head = stream.read(8)
    return stream.read(int.from_bytes(head, "little")) if len(head) == 8 else None


def send(stream: BinaryIO, message: bytes) -> None:
    """Write one message."""
    stream.write(len(message).to_bytes(8, "little") + message)
    stream.flush()


def limit() -> None:
    """Bound this process before it touches the template."""
    for what, bound in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (bound, bound))


def isolated(request: bytes) -> bytes:
    """The answer of a limited child, or the reason why it had to be killed."""
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(readable)
        _child(request, writable)
    os.close(writable)
    answer, deadline = bytearray(), time.monotonic() + WALL_SECONDS
    cause = _collect(readable, answer, deadline)
    os.close(readable)
    if cause:
        os.kill(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    if not cause and status == 0:
        return bytes(answer)
    used = usage.ru_utime + usage.ru_stime
    if cause == SLOW and used < CPU_SECONDS / 2:  # a template cannot sleep: the machine did not let it run
        return json.dumps({"stalled": f"it was given {used:.1f} seconds of CPU in {WALL_SECONDS:.0f}"}).encode()
    return json.dumps({"killed": cause or _death(status)}).encode()


def _child(request: bytes, writable: int) -> None:
    try:
        os.closerange(0, 3)
        limit()
        answer = json.dumps(work.answer(json.loads(request))).encode()
    except MemoryError:
        answer = json.dumps({"killed": f"it asked for more than {MEMORY >> 20} MB of memory"}).encode()
    except BaseException as error:  # the child must never return into the zygote's loop
        answer = json.dumps({"crashed": f"{type(error).__name__}: {error}"}).encode()
    while answer:
        answer = answer[os.write(writable, answer) :]
    os._exit(0)


def _collect(readable: int, answer: bytearray, deadline: float) -> str | None:
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([readable], [], [], left)[0]:
            return SLOW
        piece = os.read(readable, 1 << 20)
        if not piece:
            return None
        answer += piece
        if len(answer) > ANSWER_LIMIT:
            return f"it wrote more than {ANSWER_LIMIT >> 20} MB"


def _death(status: int) -> str:
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL):
        return f"it used more than {CPU_SECONDS} seconds of CPU"
    return f"its process died with status {status}"


def main() -> None:
    """Answer requests until the parent closes the pipe."""
    for name in LAZY:
        importlib.import_module(name)
    for name in CODECS:
        codecs.lookup(name)
    gc.disable()  # a child lives for milliseconds: collecting costs it a third of them
    gc.freeze()
    while (request := receive(sys.stdin.buffer)) is not None:
        send(sys.stdout.buffer, isolated(request))


if __name__ == "__main__":
    main()
