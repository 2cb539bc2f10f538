"""What goes into an engine and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt: the token ids that the model shall see, and the `messages` and `tools` that they were rendered from.

    An engine that can be given ids is given ids; the rest is for servers that render prompts themselves.
    """

    ids: Sequence[int]
    messages: Sequence[Mapping[str, Any]] = ()
    tools: Sequence[Mapping[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: its ids without the stop token, its text, and why it ended: `stop` or `length`."""

    key: str
    ids: list[int]
    text: str
    finish: str
