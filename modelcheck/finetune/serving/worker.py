"""A worker whose stages may need a server: it is started for the model that a request names, and shared by requests."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from modelcheck.finetune.chat.endpoint import ChatError
from modelcheck.finetune.identity import content
from modelcheck.finetune.serving.server import Command, Server
from modelcheck.finetune.stage import Done, Event, Failed, Worker
from modelcheck.finetune.state import digest


class Servers:
    """The servers of a session, one at a time: an accelerator holds one model, or the trainer.

    `holder` is the worker that was asked last: it may keep a model for the next question.
    """

    def __init__(self) -> None:
        self._running: tuple[str, Server] | None = None
        self.holder: Worker | None = None

    def close(self) -> None:
        """End what runs."""
        if self._running:
            self._running[1].close()
            self._running = None

    def ready(self, request: Mapping[str, Any], logs: Path, env: Mapping[str, str]) -> Mapping[str, Any]:
        """A request whose engine finds its server, started if need be. Raises ChatError; ends what is not needed."""
        engine = request.get("engine") or {}
        serve = engine.get("serve")
        if not serve:
            self.close()
            return request
        folder = request["folder"]
        # The folder of a rehearsal is always the same, and what lies in it is not.
        key = digest([serve, folder, content(Path(folder)) if folder else None])
        if self._running is None or self._running[0] != key or not self._running[1].alive:
            self.close()
            self._running = key, Server(Command(**serve), folder or "", logs / "server.log", env)
        endpoint = {**engine["endpoint"], "base_url": self._running[1].url}
        told = {name: value for name, value in engine.items() if name != "serve"}
        return {**request, "engine": {**told, "endpoint": endpoint, "direct": True}}

    def explained(self, answer: Done | Failed) -> Done | Failed:
        """A failure together with the end of the server's log."""
        if isinstance(answer, Done) or self._running is None:
            return answer
        server = self._running[1]
        state = "is still running" if server.alive else "has ended"
        message = f"{answer.message}\nits server {state}; {server.tail()}"
        return dataclasses.replace(answer, message=message, served=server.printed())


class ServedWorker(Worker):
    """A worker that starts the servers of its requests."""

    def __init__(self, servers: Servers, log: Path, *args: Any, **options: Any) -> None:
        super().__init__(log, *args, **options)
        self._servers = servers

    def ask(
        self, request: Mapping[str, Any], timeout: float, hear: Callable[[Event], None] = lambda _: None
    ) -> Done | Failed:
        """As any worker; where there is no server, the answer says why."""
        if self._servers.holder not in (None, self):
            self._servers.holder.release()
        self._servers.holder = self
        try:
            ready = self._servers.ready(request, self.log.parent, self._env)
        except ChatError as error:
            return Failed(str(request["stage"]), "refused", str(error), served=error.said)
        answer = super().ask(ready, timeout, hear)
        return self._servers.explained(answer) if ready is not request else answer
