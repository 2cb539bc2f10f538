"""Requests to the hub over huggingface_hub's session: exact byte ranges, bounded retries, the token to the hub alone.

huggingface_hub's own downloads are not used: they take a whole file where a server ignores Range, and leave
`*.incomplete` files in the hub's cache when they are killed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from importlib import import_module
from math import inf
from time import monotonic, sleep, time
from typing import Any
from urllib.parse import urljoin, urlsplit

from modelcheck.errors import Unreachable
from modelcheck.sources import hub_cache
from modelcheck.sources.transfer import Transfer

RETRIED = frozenset({408, 429, 500, 502, 503, 504})
# Pauses of half a second, doubled each time; no request is waited for longer than PATIENCE in all.
TRIES, FIRST_PAUSE, PATIENCE = 5, 0.5, 60.0
# Seconds after which people wonder what is going on.
NOTICED = 1.0
REDIRECTS = 5
# No connection is slower than this for as long as it is worth waiting.
SLOWEST = 32 << 10
# Of a number in a header: more than any size or time.
DIGITS = 18
PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Answer:
    """The last answer of a request; `own` are the headers of the hub itself, before it sent us on.

    `body` is empty unless the status is 200 or 206.
    """

    status: int
    headers: Mapping[str, str]
    own: Mapping[str, str]
    body: bytes


class _Broken(Exception):
    """An answer that ended early or never ends: worth another try."""


class Client:
    """Asks one endpoint. Safe to share between threads."""

    def __init__(self, endpoint: str, transfer: Transfer) -> None:
        """Raises Unreachable where huggingface_hub is not installed, or its environment variables mean nothing."""
        # Messages show it without the name and password that may stand in it.
        self.endpoint, self._url, self._transfer = re.sub("//[^/@]*@", "//", endpoint), endpoint, transfer
        wrong = f"HF_ENDPOINT is {self.endpoint!r}, expected a URL such as https://huggingface.co"
        if not re.match("https?://[^/]", endpoint) or not _has_port(endpoint):
            raise Unreachable(wrong)
        said = os.environ.get("HF_HUB_DOWNLOAD_TIMEOUT", "10")
        try:
            self._seconds = float(said)
        except ValueError:
            self._seconds = 0.0
        if not 0 < self._seconds < inf:
            raise Unreachable(f"HF_HUB_DOWNLOAD_TIMEOUT is {said!r}, expected a number of seconds")
        try:
            from huggingface_hub import get_session, get_token
        except ImportError:
            raise Unreachable("huggingface_hub is not installed: `pip install huggingface_hub`") from None
        except ValueError as error:  # it reads its variables when it is imported, seconds as whole numbers alone
            raise Unreachable(f"huggingface_hub refuses one of its variables HF_...: {error}") from None
        from modelcheck import __version__

        try:
            self._session: Any = get_session()
        except (ImportError, ValueError) as error:
            raise Unreachable(f"the proxy cannot be used ({error}){_proxies()}") from None
        made_by = next(c.__module__ for c in type(self._session).__mro__ if c.__module__.startswith("httpx"))
        # httpx in huggingface_hub 1, httpx2 in 2.
        self._http: Any = import_module(made_by.partition(".")[0])
        # Not build_hf_headers: where it thinks that an agent runs it, it asks the hub for a list of agents.
        self._headers = {"user-agent": f"modelcheck/{__version__}"}
        if not hub_cache.is_set("HF_HUB_DISABLE_IMPLICIT_TOKEN") and (token := get_token()):
            if not token.isascii():
                raise Unreachable("your token (HF_TOKEN) holds characters that no token has; `hf auth login`")
            self._headers["authorization"] = f"Bearer {token}"
        self._down: str | None = None

    @property
    def has_token(self) -> bool:
        """Whether requests carry a token."""
        return "authorization" in self._headers

    def get(self, path: str, most: int, span: tuple[int, int] | None = None) -> Answer:
        """GET `path` of the endpoint, with `span` bytes [start, stop) of it, at most `most` bytes.

        Raises Unreachable where there is no answer, after retries, or not the bytes that were asked for.
        """
        waited = 0.0
        for attempt in range(1, TRIES + 1):
            if self._down:  # what failed for long will not be waited for again
                raise Unreachable(self._down)
            pause = FIRST_PAUSE * 2 ** (attempt - 1)
            last, started = attempt == TRIES, monotonic()
            try:
                answer = self._once(self._url + path, most, span)
                if answer.status not in RETRIED:
                    return answer
                problem = f"{self.endpoint} answers {answer.status}"
                pause = max(pause, _asked_to_wait(answer.headers))
            except (self._http.HTTPError, self._http.InvalidURL, ValueError, _Broken) as error:  # ValueError: a port
                problem = self._told(error)
                unconnected = isinstance(error, (self._http.ConnectError, self._http.ConnectTimeout))
                last = last or (unconnected and attempt == 2)
            waited += pause
            if last or waited > PATIENCE:
                break
            if pause > NOTICED or monotonic() - started > NOTICED:
                self._transfer.tell(f"{problem}; waiting {pause:.2g} s to ask again")
            sleep(pause)
        asked = f", and asks to wait for {pause:.0f} s" if waited > PATIENCE else ""
        self._down = f"{problem}{asked}; try again later, or with --offline read what is cached"
        raise Unreachable(self._down)

    def _told(self, error: Exception) -> str:
        if isinstance(error, self._http.ConnectTimeout):
            return (
                f"{self.endpoint} cannot be reached: no connection within {self._seconds:g} s "
                f"(HF_HUB_DOWNLOAD_TIMEOUT){_proxies()}"
            )
        if isinstance(error, self._http.TimeoutException):
            return f"{self.endpoint} did not answer within {self._seconds:g} s (HF_HUB_DOWNLOAD_TIMEOUT)"
        if isinstance(error, self._http.ConnectError):
            return f"{self.endpoint} cannot be reached ({error}){_proxies()}"
        return f"{self.endpoint} broke off its answer ({error})"

    def _once(self, url: str, most: int, span: tuple[int, int] | None) -> Answer:
        # Content as it is stored: a range of something compressed would be another range.
        asked = {"accept-encoding": "identity"} | ({"range": f"bytes={span[0]}-{span[1] - 1}"} if span else {})
        own: Mapping[str, str] = {}
        for _ in range(REDIRECTS + 1):
            at_home = _origin(url) == _origin(self.endpoint)
            headers = {k: v for k, v in self._headers.items() if at_home or k != "authorization"} | asked
            with self._session.stream(
                "GET", url, headers=headers, follow_redirects=False, timeout=self._seconds
            ) as answer:
                own = answer.headers if at_home else own
                if not answer.has_redirect_location:
                    body = self._body(answer, most, span) if answer.status_code in (200, 206) else b""
                    return Answer(answer.status_code, answer.headers, own, body)
                url = urljoin(url, answer.headers["location"])
        raise Unreachable(f"{self.endpoint} redirects more than {REDIRECTS} times; is HF_ENDPOINT right?")

    def _body(self, answer: Any, most: int, span: tuple[int, int] | None) -> bytes:
        length = _number(answer.headers.get("content-length"))
        if span:
            most = span[1] - span[0]
            if answer.status_code == 206:
                place = re.match(r"bytes (\d+)-(\d+)/", answer.headers.get("content-range", ""))
                if not place or (int(place[1]), int(place[2]) + 1) != span:
                    raise Unreachable(
                        f"{self.endpoint} answers another range ({answer.headers.get('content-range')}) than the bytes "
                        f"{span[0]}-{span[1] - 1} that were asked for; is a proxy in between?"
                    )
            elif span[0] or length != most:
                return b""  # the whole file: `status` is 200, and nothing more of it is taken
        body = bytearray()
        until = monotonic() + 6 * self._seconds + most / SLOWEST
        for part in answer.iter_raw():
            body += part
            if span:  # what is no part of a file is no part of the model
                self._transfer.advance(len(part))
            if len(body) > most:
                raise Unreachable(f"{self.endpoint} sends more than the {most} bytes that were to come")
            if monotonic() > until:
                raise _Broken(f"{len(body)} of {most} bytes in {6 * self._seconds:g} s")
        if len(body) != (most if span else length if length is not None else len(body)):
            raise _Broken(f"after {len(body)} of {most if span else length} bytes")
        return bytes(body)


def _proxies() -> str:
    names = [name for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY") if {name, name.lower()} & os.environ.keys()]
    return f"; is {' or '.join(names)} right?" if names else ""


def _has_port(url: str) -> bool:
    """Whether what stands in the place of a port, if anything does, is one."""
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or PORTS.get(parts.scheme, 0)


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) <= DIGITS else None


def _asked_to_wait(headers: Mapping[str, str]) -> float:
    """Seconds by Retry-After (a number or a date), or until the hub's RateLimit window is over."""
    said = headers.get("retry-after", "")
    if (seconds := _number(said)) is not None:
        return float(seconds)
    if said:
        try:
            return max(0.0, parsedate_to_datetime(said).timestamp() - time())
        except ValueError:
            return 0.0
    spent = re.search(r"r=0\b.*?\bt=(\d{1,6})\b", headers.get("ratelimit", ""))
    return float(spent[1]) if spent else 0.0
