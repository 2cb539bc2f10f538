"""What is done with the answer to a request before the `openai` package, which brings httpx2, sees it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx2

# Of an error that says no more: it may pass.
UNAVAILABLE = 503
# Other paths are asked to see whether they are there: "no such path" under 200 shall not be asked for again.
ANSWERING = "/completions"
UNTIL = "modelcheck.until"


class Limited(httpx2.SyncByteStream):
    """The bytes of an answer until the time of its request is over: httpx2 gives each of them as long again."""

    def __init__(self, stream: httpx2.SyncByteStream, until: float) -> None:
        self._stream, self._until = stream, until

    def __iter__(self) -> Iterator[bytes]:
        for part in self._stream:
            if time.monotonic() > self._until:
                raise httpx2.ReadTimeout("the whole answer took too long")
            yield part

    def close(self) -> None:
        """Give back the connection."""
        self._stream.close()


def hooks(timeout: float) -> Mapping[str, list[Callable[[Any], None]]]:
    """What a client does with each request and each response, for answers within `timeout` seconds."""

    def begun(request: httpx2.Request) -> None:
        request.extensions[UNTIL] = time.monotonic() + timeout

    def came(response: Any) -> None:
        response.stream = Limited(response.stream, response.request.extensions[UNTIL])
        _tell(response)

    return {"request": [begun], "response": [came]}


def _tell(response: httpx2.Response) -> None:
    """Give an answer the status that it speaks of: some servers send an error under 200, and it was never repeated."""
    content = response.read()
    answering = response.request.url.path.endswith(ANSWERING)
    if response.status_code != 200 or not answering or b'"error"' not in content:
        return
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        return  # for whoever reads it to tell
    error = answer.get("error") if isinstance(answer, dict) and "choices" not in answer else None
    if error:
        code = error.get("code") if isinstance(error, dict) else None
        response.status_code = code if type(code) is int and 400 <= code < 600 else UNAVAILABLE
