"""The parent's end of the zygote: started on the first template, asked once for each, left to the next run."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

ZYGOTE = Path(__file__).with_name("zygote.py")
# The zygote answers within its own 3 seconds; this is for one that is itself stuck, on however busy a machine.
PATIENCE = 30.0


class RendererError(Exception):
    """The rendering process cannot be started, died twice or is stuck: nothing is known about the template."""


class Spare:
    """The zygote that a closed renderer leaves to the next one: a start takes far longer than most templates."""

    def __init__(self) -> None:
        self._kept: tuple[int, subprocess.Popen[bytes]] | None = None
        self._lock = threading.Lock()

    def take(self) -> subprocess.Popen[bytes] | None:
        """The one that was left, if any. A fork of the process that left it must not speak into its pipe."""
        with self._lock:
            if self._kept is None or self._kept[0] != os.getpid():
                return None
            (_, process), self._kept = self._kept, None
            return process

    def leave(self, process: subprocess.Popen[bytes]) -> None:
        """Keep one; others are ended."""
        with self._lock:
            full = self._kept is not None and self._kept[0] == os.getpid()
            if not full:
                self._kept = os.getpid(), process
        if full:
            _end(process)

    def end(self) -> None:
        """End the one that is kept."""
        if process := self.take():
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    # It waits for a request and holds nothing. Closing its pipe might not end it: forks of ours have the pipe as well.
    process.kill()
    process.communicate()


SPARE = Spare()
atexit.register(SPARE.end)


class Renderer:
    """Renders templates in a child process; safe to share between threads."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Renderer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the child process to the next renderer."""
        if self._process:
            SPARE.leave(self._process)
            self._process = None

    def start(self) -> None:
        """Start the child process early, so that it imports jinja2 while this process reads files."""
        with self._lock, suppress(RendererError):  # raised by the first request
            self._running()

    def _running(self) -> subprocess.Popen[bytes]:
        self._process = self._process or SPARE.take()
        if self._process is None:
            command = [sys.executable, "-I", str(ZYGOTE), *_import_paths("jinja2", "markupsafe")]
            pipe = subprocess.PIPE
            try:
                # Nothing of the environment is of use to a template, and some of it is secret (HF_TOKEN).
                self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env={})
            except OSError as error:
                raise RendererError(f"the rendering process cannot be started: {error}") from error
        return self._process

    def run_plan(self, template: str, variables: Mapping[str, str]) -> dict[str, Any]:
        """Render every conversation of modelcheck/render/plan.py. The answer is described in render/work.py."""
        return self._ask({"template": template, "variables": variables})

    def render(
        self, template: str, variables: Mapping[str, str], conversations: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """Render given conversations: each a dict of the keywords of `environment.render`, and `clock`."""
        return self._ask({"template": template, "variables": variables, "conversations": conversations})

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        message = json.dumps(request).encode()
        with self._lock:
            # A zygote that was killed from outside is replaced once; a second death has a cause that stays.
            answer = self._exchange(message) or self._exchange(message)
            if answer is None:
                raise RendererError(f"the rendering process died: {self._last_words}")
        result: dict[str, Any] = json.loads(answer)
        if "crashed" in result:
            raise RuntimeError(f"the renderer failed: {result['crashed']}")
        return result

    def _exchange(self, message: bytes) -> bytes | None:
        process = self._running()
        assert process.stdin and process.stdout
        watchdog = threading.Timer(PATIENCE, process.kill)
        watchdog.start()
        try:
            process.stdin.write(len(message).to_bytes(8, "little") + message)
            process.stdin.flush()
            size = int.from_bytes(process.stdout.read(8), "little")
            answer = process.stdout.read(size)
            if size and len(answer) == size:
                return answer
        except OSError:
            pass  # a broken pipe: it is dead
        finally:
            watchdog.cancel()
        self._bury(process)
        return None

    def _bury(self, process: subprocess.Popen[bytes]) -> None:
        self._process = None
        process.kill()
        try:
            _, errors = process.communicate()
        except OSError:  # what was still to be written cannot be flushed
            errors = b""
        lines = errors.decode(errors="replace").strip().splitlines()
        self._last_words = lines[-1] if lines else f"exit status {process.wait()}"


def _import_paths(*modules: str) -> list[str]:
    # -I hides PYTHONPATH and the user's site-packages: say where the modules that we would import are.
    folders = (os.path.dirname(os.path.dirname(spec.origin)) for m in modules if (spec := find_spec(m)) and spec.origin)
    return list(dict.fromkeys(folders))
