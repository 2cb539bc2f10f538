"""Where a judge is: behind a server of the OpenAI kind, or a folder that a worker of our own loads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from modelcheck.finetune.chat import Chat, Endpoint, Reply
from modelcheck.finetune.chat.pinning import accepted
from modelcheck.finetune.judge.settings import Settings

# What some servers do not take.
OPTIONAL = ("seed", "temperature")


@dataclass(frozen=True, slots=True)
class Question:
    """One vote to be asked for."""

    messages: Sequence[Mapping[str, str]]
    seed: int


@dataclass(frozen=True, slots=True)
class Said:
    """One reply; `cut` where it was cut off, so that what stands last in it is not what was to be the last."""

    text: str
    cut: bool


# Is told the key of a question and the reply to it.
Hear = Callable[[str, Said], None]


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
        self._refused: set[str] = set()

    @property
    def lot(self) -> int:
        """Enough that the slowest of them does not keep the other threads waiting."""
        return 4 * self._endpoint.concurrency

    @property
    def left_out(self) -> Sequence[str]:
        """Parameters that the server refuses."""
        return [name for name in OPTIONAL if name in self._refused]

    def ask(self, questions: Mapping[str, Question], hear: Hear) -> None:
        """Replies as they come. Raises ChatError."""
        with Chat(self._endpoint) as chat:
            for key, reply in chat.each(lambda key: self._reply(chat, questions[key]), questions):
                hear(key, reply)

    def _reply(self, chat: Chat, question: Question) -> Said:
        def put(**fields: Any) -> Reply:
            return chat.ask(question.messages, **fields)

        reply, refused = accepted(put, {"seed": question.seed, **self._parameters}, OPTIONAL, self._refused)
        self._refused = self._refused | refused
        return Said(reply.text, reply.cut)
