"""What can go wrong with a server, each as one line that says what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from modelcheck.finetune.chat.endpoint import ChatError, Endpoint

# How vLLM, SGLang, llama.cpp, Ollama and the commercial servers say it.
TOO_LONG = re.compile(
    r"context[_ ](length|size|window)|maximum (context|model) length|max_model_len|prompt is too long|too many tokens",
    re.IGNORECASE,
)
SHOWN = 300
LISTED = 12


class Failures:
    """The failures of one endpoint in words; `redacted` takes the key out of a text."""

    def __init__(self, endpoint: Endpoint, redacted: Callable[[str], str]) -> None:
        self._endpoint, self._redacted = endpoint, redacted

    def of(self, error: Exception, path: str, models: Callable[[], list[str] | None]) -> ChatError:
        """What an error of the `openai` package means; `models` is asked where the server knows no such model."""
        import openai

        if isinstance(error, openai.APITimeoutError):
            return self._timeout(path)
        if isinstance(error, openai.APIStatusError):
            return self._status(error.status_code, error, path, models)
        return self._unreachable(error)

    def malformed(self, path: str, what: str, text: str) -> ChatError:
        """An answer that is none."""
        start = " ".join(self._redacted(text)[:SHOWN].split())
        place = self._endpoint.base_url
        why = f"{place}: the answer to {path} {what}: {start!r}: base_url must be that of an OpenAI-compatible API"
        return ChatError(f"{why} (it mostly ends in /v1)", "malformed", 200, start)

    def _timeout(self, path: str) -> ChatError:
        tries, limit = self._endpoint.max_retries + 1, self._endpoint.timeout
        why = f"{self._endpoint.base_url}: {path} was not answered within timeout = {limit:g} s, {_times(tries)}"
        return ChatError(f"{why}: raise timeout, lower concurrency, or ask for less", "timeout")

    def _unreachable(self, error: Exception) -> ChatError:
        reason = self._redacted(str(error.__cause__ or error))
        why = f"{self._endpoint.base_url} cannot be reached ({reason}): start the server, or correct base_url"
        return ChatError(why, "connection")

    def _status(self, status: int, error: Any, path: str, models: Callable[[], list[str] | None]) -> ChatError:
        said = self._redacted(_said(error))
        told = f"{self._endpoint.base_url}: {path} was answered with {status}"
        told += f" ({said})" if said else ""
        if status in (401, 403):
            return ChatError(f"{told}: {self._about_the_key()}", "refused", status, said)
        if status == 404:
            return ChatError(f"{told}: {self._about_the_model(models())}", "model", status, said)
        if status == 429:
            return ChatError(f"{told} {self._about_waiting(error)}", "busy", status, said)
        if status >= 500:
            tried = _times(self._endpoint.max_retries + 1)
            return ChatError(
                f"{told}, {tried}: look into the server's log, or lower concurrency", "server", status, said
            )
        if status in (400, 413, 422) and TOO_LONG.search(said):
            advice = "lower gen.max_tokens, leave such items out, or serve the model with a longer context"
            return ChatError(f"{told}: {advice}", "context", status, said)
        return ChatError(f"{told}: leave out what it does not take, or correct it", "request", status, said)

    def _about_the_key(self) -> str:
        if self._endpoint.api_key_env:
            return f"the key in {self._endpoint.api_key_env} is not taken: check it, and what it may be used for"
        return 'it asks for a key: put it into an environment variable and name that, api_key_env = "MY_KEY"'

    def _about_the_model(self, known: list[str] | None) -> str:
        if known is None:
            return f"check base_url (it mostly ends in /v1) and model = {self._endpoint.model!r}"
        more = f" and {len(known) - LISTED} more" if len(known) > LISTED else ""
        names = ", ".join(self._redacted(name) for name in known[:LISTED]) or "none at all"
        if self._endpoint.model in known:
            return f"it has the model {self._endpoint.model!r}, but not this path: check base_url"
        return f"it has no model {self._endpoint.model!r}; it has {names}{more}"

    def _about_waiting(self, error: Any) -> str:
        wait = error.response.headers.get("retry-after")
        asked = f", the last with Retry-After: {wait[:40]} (more than 120 s is not waited for)" if wait else ""
        tried = f"after up to {_times(self._endpoint.max_retries + 1)}{asked}"
        return f"{tried}: lower concurrency, raise max_retries, or ask for a higher limit"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _said(error: Any) -> str:
    """The server's own words in one line: of OpenAI's form of an error, FastAPI's, or whatever it sent."""
    body = error.body
    if isinstance(body, dict):
        inner = body.get("error", body)
        body = _first(inner) if isinstance(inner, dict) else inner
    text = body if isinstance(body, str) else json.dumps(body) if body is not None else ""
    return " ".join(text.split())[:SHOWN]


def _first(error: dict[str, Any]) -> Any:
    return next((error[name] for name in ("message", "detail", "error") if error.get(name)), error)
