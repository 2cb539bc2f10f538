"""A server on this machine: started for one model, waited for until it is ready, ended with everything it started."""

from __future__ import annotations

import http.client
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from modelcheck.finetune import printed
from modelcheck.finetune.chat.endpoint import ChatError

HOST = "127.0.0.1"
PAUSE = 0.2
ANSWER_LIMIT = 10.0
GUARD = Path(__file__).with_name("guard.py")
# The states of a server that is there, but not yet able to answer.
NOT_YET = (500, 502, 503, 504)


@dataclass(frozen=True, slots=True)
class Command:
    """How a server is started. `{model}` and `{port}` in `words` are filled in; `env` is laid over the environment.

    `timeout` is in seconds, until it is ready; `key_env` names the variable whose value is kept out of the log.
    """

    words: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 600.0
    key_env: str | None = None


class Server:
    """A running server; a context manager. Raises ChatError, with the end of its log, where it does not start."""

    def __init__(self, command: Command, model: str, log: Path, env: Mapping[str, str]) -> None:
        self._command, self.log, self.port = command, log, _free_port()
        self.words = [_filled(word, model, self.port) for word in command.words]
        env = {**env, **command.env}
        if not shutil.which(self.words[0], path=env.get("PATH")):
            raise ChatError(f"serve: {self.words[0]!r} is no program: name one that is there", "connection")
        log.parent.mkdir(parents=True, exist_ok=True)
        self._begins = log.stat().st_size if log.exists() else 0
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, str(GUARD), command.key_env or "", *self.words],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=env,
                start_new_session=True,
            )
        try:
            self._wait(command.timeout)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The address of its API."""
        return f"http://{HOST}:{self.port}/v1"

    @property
    def alive(self) -> bool:
        """Whether it is still running."""
        return self._process.poll() is None

    def close(self) -> None:
        """End it with everything it started, and wait until that is done."""
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait()

    def printed(self) -> str:
        """The end of what it printed."""
        return printed.last(self.log, self._begins)

    def tail(self) -> str:
        """The end of what it printed, as a person is shown it."""
        return printed.shown(self.printed(), self.log)

    def _wait(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not self._ready():
            if not self.alive:
                what = f"serve: {self._shown} ended before it was ready"
                raise ChatError(f"{what}\n{self.tail()}", "connection", said=self.printed())
            if time.monotonic() > deadline:
                what = f"serve: {self._shown} was not ready after serve_timeout = {timeout:g} s: raise it"
                raise ChatError(f"{what}\n{self.tail()}", "timeout", said=self.printed())
            time.sleep(PAUSE)

    @property
    def _shown(self) -> str:
        return " ".join(self.words)

    def _ready(self) -> bool:
        """`/health` says so; or, where there is no such path, `/v1/models` or the bare fact that it answers."""
        health = self._status("/health")
        if health is None or health in NOT_YET:
            return False
        if health == 200:
            return True
        # Not every server has this one either, and some fail on it: only what says "not yet" counts.
        return self._status("/v1/models") not in (None, 503)

    def _status(self, path: str) -> int | None:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=ANSWER_LIMIT)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()


def _filled(word: str, model: str, port: int) -> str:
    return word.replace("{model}", model).replace("{port}", str(port))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
