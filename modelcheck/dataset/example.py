"""One row as a conversation, and the row that is none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

# Roles that chat templates know; others are a template's own.
ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function", "ipython"})

Message = Mapping[str, Any]


@dataclass(frozen=True)
class Example:
    """One row. `messages` end with the answer, where the row has one; keys with null values are left out of them.

    `reference` is what scorers compare with: the column of that name, else the text of the last answer; `criteria` is
    what a judge is told of a good answer. `row` counts
    from 1 (in a JSONL file it is the line) in `source`, a file or data set as messages call it. `text` is set instead
    of `messages` where a row is a text that trainers encode as it stands. `given_id` is the row's own id, if any;
    `fields` is the row as it was read.
    """

    messages: tuple[Message, ...]
    row: int
    source: str
    reference: Any = None
    tools: Sequence[Mapping[str, Any]] | None = None
    given_id: str | None = None
    cluster: str | None = None
    slice: str | None = None
    critical: bool = False
    text: str | None = None
    criteria: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @cached_property
    def prompt(self) -> tuple[Message, ...]:
        """The messages before the last answer; all of them where the row ends without one."""
        return self.messages[:-1] if self.answer is not None else self.messages

    @property
    def answer(self) -> Message | None:
        """The last message, if it is an assistant's."""
        return self.messages[-1] if self.messages and self.messages[-1].get("role") == "assistant" else None

    @cached_property
    def id(self) -> str:
        """SHA-256 of the prompt's messages, tools, reference and criteria: what the two sides of a gate join on."""
        content = [self.prompt, self.tools, self.reference, *([] if self.criteria is None else [self.criteria])]
        text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def place(self) -> str:
        """`file, row 17`, for messages."""
        return f"{self.source}, row {self.row}"


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that is no conversation: what was found and what was expected."""

    row: int
    source: str
    problem: str

    def __str__(self) -> str:
        return f"{self.source}, row {self.row}: {self.problem}"


def text_of(message: Message) -> str:
    """The text of a message: its content, or the texts among its parts; empty where it has none."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, (list, tuple)) else ()
    return "".join(str(part["text"]) for part in parts if isinstance(part, Mapping) and part.get("text") is not None)
