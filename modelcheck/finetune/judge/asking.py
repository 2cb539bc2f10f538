"""Where a judge is: behind a server of the OpenAI kind, or a folder that a worker of our own loads."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from modelcheck.finetune.chat import Chat, ChatError, Endpoint
from modelcheck.finetune.judge.settings import Settings

# What some servers do not take, and what they take in its place; they refuse it by its name.
INSTEAD = {"seed": "", "temperature": "", "max_tokens": "max_completion_tokens"}


# Is told the key of a question and the reply to it.
Hear = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class Question:
    """One vote to be asked for."""

    messages: Sequence[Mapping[str, str]]
    seed: int


class Asked(Protocol):
    """What answers questions. `left_out` names the parameters that it does not take."""

    @property
    def lot(self) -> int:
        """How many answers to judge it likes to be given at once."""

    @property
    def left_out(self) -> Sequence[str]:
        """Parameters that it was not given, because it refuses them."""

    def ask(self, questions: Mapping[str, Question], hear: Hear) -> None:
        """Have `hear` told of every reply by its key, as they come and in any order. Raises UsageError."""


class Server:
    """A judge behind an API, asked `threads` questions at a time."""

    def __init__(self, settings: Settings) -> None:
        self._endpoint = Endpoint(**settings.server)
        self._parameters = {"temperature": settings.temperature, "max_tokens": settings.max_tokens}
        self._names = {name: name for name in INSTEAD}

    @property
    def lot(self) -> int:
        """Enough that the slowest of them does not keep the other threads waiting."""
        return 4 * self._endpoint.concurrency

    @property
    def left_out(self) -> Sequence[str]:
        """Parameters that the server refuses."""
        return [name for name, instead in self._names.items() if not instead]

    def ask(self, questions: Mapping[str, Question], hear: Hear) -> None:
        """Replies as they come. Raises ChatError."""
        with Chat(self._endpoint) as chat:
            for key, reply in chat.each(lambda key: self._reply(chat, questions[key]), questions):
                hear(key, reply)

    def _reply(self, chat: Chat, question: Question) -> str:
        given = {"seed": question.seed, **self._parameters}
        while True:
            asked = {self._names[name]: value for name, value in given.items() if self._names[name]}
            try:
                return chat.ask(question.messages, **asked).text
            except ChatError as error:
                refused = next((name for name in INSTEAD if name in asked and _names(error, name)), None)
                if refused is None:
                    raise
                self._names[refused] = INSTEAD[refused]


def _names(error: ChatError, parameter: str) -> bool:
    return error.kind == "request" and re.search(rf"\b{parameter}\b", error.said) is not None
