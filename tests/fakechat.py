"""A server that speaks the API of OpenAI, with vLLM's additions or without, for the engine and the judge.

    with FakeChat() as server:
        server.answer = lambda body: "42"
        ...
        assert server.requests[0].path == "/v1/chat/completions"

`server.fault` makes it misbehave; every request is on record, with the moment at which it came.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"


@dataclass
class Request:
    method: str
    path: str
    body: dict[str, Any]
    authorization: str | None
    at: float


@dataclass
class Fault:
    """What goes wrong at a request; `text` is the whole body of the answer, `seconds` come before it.

    `blanks` of it come after the head, one each tenth of a second.
    """

    status: int = 200
    text: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    blanks: int = 0


@dataclass
class FakeChat:
    """`url` is its base_url. The fields say what it can and what it takes; all may be changed while it runs.

    answer     what it says: a text, or a whole choice, made of the body of the request
    key        what it asks for, if anything
    known      the names of its models; None: it does not say
    called     the name that it gives for who answered; None: that of the request
    unknown    fields of a request that it refuses by name
    render     messages and arguments of the template to token ids: makes `/tokenize` and the counts of prompts
    takes_ids  whether /v1/completions takes a prompt of ids
    fault      what goes wrong, by the number of the request
    """

    answer: Callable[[dict[str, Any]], Any] = lambda _: "yes"
    key: str | None = None
    known: Sequence[str] | None = ("tiny",)
    called: str | None = None
    unknown: Collection[str] = ()
    render: Callable[[list[dict[str, Any]], dict[str, Any]], list[int]] | None = None
    tokenizes: bool = False
    takes_ids: bool = False
    fault: Callable[[int, Request], Fault | None] = lambda _number, _request: None
    requests: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.root = f"http://127.0.0.1:{self._server.server_port}"
        self.url = f"{self.root}/v1"

    def __enter__(self) -> FakeChat:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def asked(self, path: str = CHAT) -> list[dict[str, Any]]:
        """The bodies that a path was sent."""
        return [request.body for request in self.requests if request.path == path]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one piece: the second would wait for the client's acknowledgement

            def do_GET(self) -> None:
                size = int(self.headers.get("content-length") or 0)
                body = json.loads(self.rfile.read(size) or "{}")
                key = self.headers.get("authorization")
                request = Request(self.command, self.path, body, key, time.monotonic())
                with fake._lock:
                    fake.requests.append(request)
                    number = len(fake.requests)
                if found := fake.fault(number, request):
                    time.sleep(found.seconds)
                    text = found.text if found.text is not None else json.dumps({"error": {"message": "a fault"}})
                    self._send(found.status, text, found.headers, found.blanks)
                else:
                    status, answer = fake._answered(request)
                    self._send(status, json.dumps(answer), {})

            do_POST = do_GET  # noqa: N815  the name that the handler looks for

            def _send(self, status: int, text: str, headers: Mapping[str, str], blanks: int = 0) -> None:
                content = b" " * blanks + text.encode()
                self.send_response(status)
                for name, value in {"content-type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                for _ in range(blanks):
                    self.wfile.write(b" ")
                    self.wfile.flush()
                    time.sleep(0.1)
                self.wfile.write(content[blanks:])

            def log_message(self, *_: object) -> None:
                """Say nothing: requests are kept and counted, not printed."""

        return Handler

    def _answered(self, request: Request) -> tuple[int, dict[str, Any]]:
        body, path = request.body, request.path
        if self.key and request.authorization != f"Bearer {self.key}":
            return 401, _error(f"Incorrect API key provided: {request.authorization}")
        if path == "/health":
            return 200, {}
        if path == "/v1/models" and self.known is not None:
            return 200, {"data": [{"id": name} for name in self.known]}
        if path == "/tokenize" and self.tokenizes and self.render:
            return 200, {"tokens": self.render(body["messages"], body)}
        if path not in (CHAT, COMPLETIONS):
            return 404, {"detail": "Not Found"}
        if refused := sorted(body.keys() & set(self.unknown)):
            return 400, _error(f"Unexpected fields in the request: {refused[0]}")
        if self.known is not None and body["model"] not in self.known:
            return 404, _error(f"The model `{body['model']}` does not exist.")
        if path == COMPLETIONS and not (self.takes_ids and isinstance(body["prompt"], list)):
            return 400, _error("prompt must be a string.")
        return 200, self._completion(body, chat=path == CHAT)

    def _completion(self, body: dict[str, Any], *, chat: bool) -> dict[str, Any]:
        made = self.answer(body)
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
        if isinstance(made, Mapping):
            choice |= made
        else:
            choice |= {"message": {"role": "assistant", "content": made}} if chat else {"text": made}
        usage = {}
        if not chat:
            usage = {"prompt_tokens": len(body["prompt"])}
        elif self.render:
            usage = {"prompt_tokens": len(self.render(body["messages"], body))}
        return {"id": "x", "model": self.called or body["model"], "choices": [choice], "usage": usage}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:
        """A client that has gone is no news."""


def _error(message: str) -> dict[str, Any]:
    return {"error": {"message": message}}
