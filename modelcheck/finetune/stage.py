"""The parent's end of a worker: start it, ask it, stream what it says, and end it with everything that it started."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import IO, Any

import modelcheck
from modelcheck.finetune import printed as output
from modelcheck.finetune.protocol import RELEASE
from modelcheck.finetune.secrets import secrets_in, without

# Nothing is reported anywhere, and a fork after the first encoding is no accident here.
QUIET = {"HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1", "TOKENIZERS_PARALLELISM": "false"}
# Importing torch, transformers and trl took 5 to 40 s on a busy machine.
START_LIMIT = 300.0
# How long a stage that was told to stop may take to write down where it stands.
GRACE = 30.0

Event = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Done:
    """What a stage answered, and the seconds it took."""

    value: Any
    seconds: float


@dataclass(frozen=True, slots=True)
class Failed:
    """A stage without an answer: what happened and what to do.

    `kind` is `refused` (the stage says why), `crashed`, `killed`, `timeout` or `start` (no worker came to life).
    `printed` is the end of what it printed, `served` of what its server did.
    """

    stage: str
    kind: str
    message: str
    printed: str = ""
    log: Path | None = None
    served: str = ""

    def __str__(self) -> str:
        return self.told()

    def told(self, remedy: str | None = None) -> str:
        """All that is known, with what may help before the end of the log."""
        lines = [f"{self.stage}: {self.message}", *([f"what helps: {remedy}"] if remedy else [])]
        if self.printed and self.kind != "refused":
            lines.append(output.shown(self.printed, self.log))
        return "\n".join(lines)


class _Silence(Exception):
    """The worker says nothing more: `died` or `timeout`."""


class Worker:
    """A process of modelcheck.finetune.worker, started with the first question; a context manager.

    `python` is the interpreter (None for ours), `env` is laid over our environment, `log` takes what libraries print,
    `preload` are modules to import before the first fork.
    """

    def __init__(
        self, log: Path, python: str | None = None, env: Mapping[str, str] | None = None, preload: Sequence[str] = ()
    ) -> None:
        self.log, self._preload = log, preload
        self._python = python or sys.executable
        self._env = {**os.environ, **QUIET, **(env or {})}
        self._secrets = secrets_in(self._env)
        self._process: subprocess.Popen[str] | None = None
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._home: TemporaryDirectory[str] | None = None
        self.versions: Mapping[str, str] = {}

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ask(
        self, request: Mapping[str, Any], timeout: float, hear: Callable[[Event], None] = lambda _: None
    ) -> Done | Failed:
        """Send a request and wait for its answer, at most `timeout` seconds; `hear` gets the events before it.

        On Ctrl-C the stage is told to stop, given time to save, and the KeyboardInterrupt goes on.
        """
        stage, started = str(request["stage"]), time.monotonic()
        if failure := self.start(stage):
            return failure
        printed = self._printed()
        try:
            answer = self._exchange(request, started + timeout, hear)
        except _Silence as silence:
            self.close()
            return self._silent(stage, str(silence), timeout, printed)
        except BaseException:
            self.stop()
            raise
        if answer["event"] == "result":
            return Done(answer["value"], round(time.monotonic() - started, 3))
        if answer["event"] == "ended":
            return self._ended(stage, answer["status"], printed)
        kind = "crashed" if answer["internal"] else "refused"
        return Failed(stage, kind, without(answer["message"], self._secrets), self._tail(printed), self.log)

    def expect(self) -> None:
        """Have it import what stages need while nothing is asked yet. A worker that does not start says so when it is.

        It does no harm to one that is at it already.
        """
        if self.start("import") is None and self._process:
            with suppress(OSError):
                stdin = _pipe(self._process.stdin)
                stdin.write("\n")
                stdin.flush()

    def release(self) -> None:
        """Have it give back the model that it keeps for the next question, if it keeps one."""
        if self._process and self._process.poll() is None:
            try:
                self._exchange({"stage": RELEASE}, time.monotonic() + GRACE, lambda _: None)
            except _Silence:
                self.close()

    def stop(self, grace: float = GRACE) -> None:
        """Ask the stage at work to stop, wait until it has, at most `grace` seconds, then end everything."""
        if self._process and self._process.poll() is None:
            with suppress(ProcessLookupError, KeyboardInterrupt, _Silence):
                os.killpg(self._process.pid, signal.SIGTERM)
                # A stage that goes on talking has no longer than one that is silent.
                deadline = time.monotonic() + grace
                event = self._next(deadline)
                while event["event"] != "ended":
                    event = self._next(deadline)
        self.close()

    def close(self) -> None:
        """End the worker and whatever it started, at once: between two questions it has nothing to finish."""
        if self._process:
            # Of a worker that died by itself, too, an engine's own processes may be left.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            with suppress(OSError):
                # What is left of a worker that died by itself ends with its standard input.
                _pipe(self._process.stdin).close()
            self._process.wait()
            self._process = None
            self._hide_secrets()
        if self._home:
            self._home.cleanup()
            self._home = None

    def start(self, stage: str) -> Failed | None:
        """Start the worker, or say why it does not come to life."""
        if self._process and self._process.poll() is None:
            return None
        self.close()
        if why := self.missing():
            return Failed(stage, "start", why)
        try:
            printed = self._begin()
        except OSError as error:
            self.close()
            where = f"{error.filename}: " if error.filename else ""
            return Failed(stage, "start", f"its worker cannot be started: {where}{error.strerror or error}")
        try:
            self.versions = self._next(time.monotonic() + START_LIMIT)["versions"]
        except _Silence as silence:
            self.close()
            return self._not_started(stage, str(silence), printed)
        except BaseException:
            self.close()
            raise
        return None

    def missing(self) -> str | None:
        """Why there is no interpreter to start, if so."""
        if shutil.which(self._python):
            return None
        if Path(self._python).is_file():
            return f"python = {self._python!r} is a file that may not be executed: chmod +x it, or name an interpreter"
        return f"python = {self._python!r} is no interpreter: name one that is there, or leave the key out"

    def _begin(self) -> int:
        """Start the process; how much its log held before."""
        self._home = TemporaryDirectory(prefix="modelcheck-")
        # Only modelcheck itself: the rest of our site-packages is made for our own interpreter.
        Path(self._home.name, "modelcheck").symlink_to(Path(modelcheck.__file__).parent)
        paths = [self._home.name, *filter(None, [self._env.get("PYTHONPATH")])]
        self.log.parent.mkdir(parents=True, exist_ok=True)
        printed = self._printed()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._python, "-m", "modelcheck.finetune.worker", *self._preload],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**self._env, "PYTHONPATH": os.pathsep.join(paths)},
                text=True,
                encoding="utf-8",
                start_new_session=True,
            )
        self._events = queue.SimpleQueue()
        threading.Thread(target=_listen, args=(self._process, self._events), daemon=True).start()
        return printed

    def _exchange(self, request: Mapping[str, Any], deadline: float, hear: Callable[[Event], None]) -> Event:
        """The event that answers: `result`, `error`, or `ended` where there was neither."""
        try:
            stdin = _pipe(self._process.stdin if self._process else None)
            stdin.write(json.dumps(request) + "\n")
            stdin.flush()
        except OSError:
            raise _Silence("died") from None
        answer: Event | None = None
        while (event := self._next(deadline))["event"] != "ended":
            if event["event"] in ("result", "error"):
                answer = event
            else:
                hear(event)
        return answer or event

    def _next(self, deadline: float) -> Event:
        # Asked first: a stage that talks without a pause would never be found silent.
        if (left := deadline - time.monotonic()) <= 0:
            raise _Silence("timeout")
        try:
            event = self._events.get(timeout=left)
        except queue.Empty:
            raise _Silence("timeout") from None
        if event is None:
            raise _Silence("died")
        return event

    def _ended(self, stage: str, status: int, printed: int) -> Failed:
        tail = self._tail(printed)
        if status == -signal.SIGKILL:
            why = "was killed from outside, most often by the system for lack of memory: use a smaller batch or length"
            return Failed(stage, "killed", why, tail, self.log)
        name = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        return Failed(stage, "killed", f"ended with {name} and without an answer", tail, self.log)

    def _silent(self, stage: str, why: str, timeout: float, printed: int) -> Failed:
        tail = self._tail(printed)
        if why == "timeout":
            message = (
                f"took longer than timeout = {timeout:g} s and was ended: raise the timeout, or give it less to do"
            )
            return Failed(stage, "timeout", message, tail, self.log)
        return Failed(stage, "killed", "its worker process was killed from outside: run again", tail, self.log)

    def _not_started(self, stage: str, why: str, printed: int) -> Failed:
        tail = self._tail(printed)
        missing = next((line for line in tail.splitlines()[::-1] if line.startswith("ModuleNotFoundError")), None)
        if missing:
            message = f"{self._python} lacks a module ({missing}): install modelcheck[finetune] for it"
        elif why == "timeout":
            message = f"{self._python} did not start within {START_LIMIT:g} s"
        else:
            message = f"{self._python} ended before the first question"
        return Failed(stage, "start", message, tail, self.log)

    def _hide_secrets(self) -> None:
        """Take secrets out of what libraries printed; while they print, it stands there as they wrote it."""
        said = self.log.read_text(encoding="utf-8", errors="surrogateescape")
        if (kept := without(said, self._secrets)) != said:
            self.log.write_text(kept, encoding="utf-8", errors="surrogateescape")

    def _printed(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0

    def _tail(self, start: int) -> str:
        return without(output.last(self.log, start), self._secrets)


def _listen(process: subprocess.Popen[str], events: queue.SimpleQueue[Event | None]) -> None:
    with _pipe(process.stdout) as lines:
        for line in lines:
            events.put(json.loads(line))
    events.put(None)


def _pipe(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise OSError("the worker is not running")
    return pipe
