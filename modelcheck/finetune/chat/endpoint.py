"""Where a server is asked, and the key of it, which is only ever read from the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from modelcheck.errors import UsageError
from modelcheck.finetune.kinds import DURATION, MAPPING, TEXT, Kind, Reader, Wrong, whole
from modelcheck.finetune.protocol import StageError
from modelcheck.finetune.secrets import is_secret, names_secret
from modelcheck.finetune.toml_lines import Place

# Fields of a request that belong to whoever asks.
SAID_ELSEWHERE = (
    "model", "messages", "prompt", "tools", "stream", "n", "temperature", "top_p", "top_k", "min_p", "stop", "seed",
    "repetition_penalty", "max_tokens", "max_completion_tokens", "chat_template_kwargs",
)  # fmt: skip
# Only capitals: a key that stands in the place of a name must not be taken for one, and shown.
VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")
ADDRESS = re.compile(r"https?://[^\s/@?#]+(/[^\s@?#]*)?")
BY_NAME = 'put the key into an environment variable and name that: api_key_env = "MY_KEY"'


class ChatError(UsageError, StageError):
    """A server cannot be asked, or does not answer as it should. One line that says what to do; no key is in it.

    `kind` is `key`, `connection`, `timeout`, `refused` (401, 403), `model` (404), `busy` (429), `context`, `request`
    (any other 4xx), `server` (5xx) or `malformed`; `status` is that of the answer, `said` the server's own words.
    """

    def __init__(self, text: str, kind: str, status: int | None = None, said: str = "") -> None:
        super().__init__(text)
        self.kind, self.status, self.said = kind, status, said


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server of the OpenAI kind. `base_url` ends before `/chat/completions`; `extra_body` goes into each request.

    `concurrency` requests are under way at a time; one that fails for a passing reason is repeated `max_retries` times;
    `timeout` is in seconds, for each request.
    """

    base_url: str
    model: str
    api_key_env: str | None = None
    concurrency: int = 16
    max_retries: int = 5
    timeout: float = 300.0
    extra_body: Mapping[str, Any] = field(default_factory=dict)

    def key(self) -> str | None:
        """The key, None where none is needed. Raises ChatError where the variable does not hold one."""
        if self.api_key_env is None:
            return None
        key = os.environ.get(self.api_key_env, "")
        if not key:
            raise ChatError(
                f"the environment variable {self.api_key_env}, which api_key_env names, is not set: set it to the "
                "server's key",
                "key",
            )
        if not re.fullmatch(r"[\x21-\x7e]+", key):
            raise ChatError(
                f"the environment variable {self.api_key_env} holds a blank, a line break or another character that "
                "no key has: set it to the key alone",
                "key",
            )
        return key


def _variable(value: Any, _reader: Reader, _at: Place) -> str:
    # What stands here may be a key: the message must not repeat it.
    if not isinstance(value, str) or not VARIABLE.fullmatch(value):
        raise Wrong(f"expected the name of an environment variable, in capitals; {BY_NAME}")
    return value


def _address(value: Any, _reader: Reader, _at: Place) -> str:
    if isinstance(value, str) and "@" in value:
        raise Wrong(f"an address with a name or password in it is not taken: {BY_NAME}")
    if not isinstance(value, str) or not ADDRESS.fullmatch(value):
        raise Wrong
    return value.rstrip("/")


def _body(value: Any, reader: Reader, at: Place) -> dict[str, Any]:
    body: dict[str, Any] = MAPPING.read(value, reader, at)
    if any(map(is_secret, body)) or names_secret(body):
        raise Wrong(f"holds what is called like a key: {BY_NAME}")
    if twice := sorted(body.keys() & set(SAID_ELSEWHERE)):
        raise Wrong(f"sets {', '.join(twice)}, which the job says elsewhere: leave it out here")
    return body


def _literal(_value: Any, _reader: Reader, _at: Place) -> str:
    raise Wrong(f"a key in a job file is not taken: {BY_NAME}")


# The keys of an endpoint in a job file, for whichever table holds one.
ENDPOINT_KEYS: Mapping[str, Kind] = {
    "base_url": Kind('an address such as "http://127.0.0.1:8000/v1"', _address),
    "model": TEXT,
    "api_key_env": Kind("the name of an environment variable", _variable),
    "api_key": Kind("nothing", _literal),
    "concurrency": whole(1),
    "max_retries": whole(0),
    "timeout": DURATION,
    "extra_body": Kind("a table", _body),
}
