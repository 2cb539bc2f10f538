"""What is never kept: values under the names of secrets, logins in addresses, and both in what libraries print."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

SECRET = re.compile(r"(.*[_-])?(key|token|secret|pass(word|wd|phrase)?|credentials?|auth)", re.IGNORECASE)
LOGIN = re.compile(r"(?<=://)[^/@\s]+(?=@)")
HIDDEN = "(hidden)"
# A shorter one is no secret, and may be a part of any word.
LEAST = 8


def is_secret(name: str) -> bool:
    """Whether something of this name is kept to oneself: `HF_TOKEN`, `api-key`; not `api_key_env` or `max_tokens`."""
    return bool(SECRET.fullmatch(name))


def names_secret(value: Any) -> bool:
    """Whether a secret stands anywhere in a document, by its name. A table of such a name may describe a field."""
    if isinstance(value, Mapping):
        return any(
            names_secret(part) or (is_secret(name) and not isinstance(part, Mapping)) for name, part in value.items()
        )
    return isinstance(value, list) and any(map(names_secret, value))


def redacted(value: Any, *, secret: bool = False) -> Any:
    """A document without what stands under the names of secrets, and without logins in addresses."""
    if isinstance(value, Mapping):
        return {key: redacted(part, secret=is_secret(str(key))) for key, part in value.items()}
    if isinstance(value, list):
        return [redacted(part, secret=secret) for part in value]
    if isinstance(value, str) and value:
        return HIDDEN if secret else LOGIN.sub(HIDDEN, value)
    return value


def secrets_in(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The values of an environment that are secrets, the longest first: one may hold another."""
    found = {value for name, value in environment.items() if is_secret(name) and len(value) >= LEAST}
    return tuple(sorted(found, key=lambda value: (-len(value), value)))


def without(text: str, secrets: Iterable[str]) -> str:
    """A text in which none of the secrets is left."""
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return text
