"""What a server can do besides answering: each asked for and the answer looked at, because some ignore in silence."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from modelcheck.finetune.chat.client import Reply
from modelcheck.finetune.chat.endpoint import ChatError
from modelcheck.finetune.chat.pinning import accepted, left

# A word that no model says of its own.
WORD = "qxmodelcheckzj"
SCHEMA = {
    "type": "object",
    "properties": {"word": {"enum": [WORD]}},
    "required": ["word"],
    "additionalProperties": False,
}
GRAMMAR = f'root ::= "{WORD}"'
ASKED = ({"role": "user", "content": "Say the word."},)
# Tokens of an answer: enough for the word, and enough to see that there is one.
ROOM, SHORT = 64, 2
# What says nothing about the server's abilities.
PASSING = ("key", "connection", "timeout", "refused", "busy")


def grammar_fields(text: str) -> dict[str, dict[str, Any]]:
    """{name of the way: the fields of a request that hold an answer to a grammar}: vLLM's, llama.cpp's, SGLang's."""
    return {
        "structured_outputs": {"structured_outputs": {"grammar": text}},
        "grammar": {"grammar": text},
        "ebnf": {"ebnf": text},
    }


class Probe:
    """Short questions to a server, put by `ask` (messages, fields) without what it refuses of length and temperature.

    `answers` says whether it answers one. Raises ChatError where the server is not there, or lets nobody in.
    """

    def __init__(self, ask: Callable[..., Reply]) -> None:
        self._ask = ask
        try:
            _, self._refused = accepted(partial(ask, ASKED), _plain(SHORT), ("temperature",))
            self.answers = True
        except ChatError as error:
            if error.kind in PASSING:
                raise
            self.answers = False

    def ask(self, messages: Sequence[Mapping[str, Any]], room: int = SHORT, **fields: Any) -> Reply:
        """The answer to messages, of at most `room` tokens. Raises ChatError."""
        return self._ask(messages, **left(_plain(room), self._refused), **fields)

    def abilities(self) -> dict[str, Any]:
        """What the server turns out to do: True, False where it ignores or refuses it, None where nobody can tell.

        `logprobs`: it tells them. `json_schema`: it holds answers to the schema of a `response_format`. `grammar`: the
        name of the way (`grammar_fields`) in which it holds answers to a grammar, in place of True. `token_ids`: it
        tells those of its answers.
        """
        schema = {"type": "json_schema", "json_schema": {"name": "word", "strict": True, "schema": SCHEMA}}
        return {
            "logprobs": self._seen(_has_logprobs, logprobs=True, top_logprobs=1),
            "json_schema": self._seen(_is_the_word, ROOM, response_format=schema),
            "grammar": self._grammar_way(),
            "token_ids": self._seen(lambda reply: bool(reply.ids), return_token_ids=True),
        }

    def _grammar_way(self) -> str | bool | None:
        seen = False
        for name, fields in grammar_fields(GRAMMAR).items():
            held = self._seen(lambda reply: reply.text.strip() == WORD, ROOM, **fields)
            if held:
                return name
            seen = seen or held is False
        return False if seen else None

    def _seen(self, holds: Callable[[Reply], bool], room: int = SHORT, **fields: Any) -> bool | None:
        def look() -> bool:
            return holds(self.ask(ASKED, room, **fields))

        return self.outcome(look)

    def outcome(self, look: Callable[[], bool | None]) -> bool | None:
        """What a look at some answers shows; False where they were refused, None where there were none."""
        if not self.answers:
            return None
        try:
            return look()
        except ChatError as error:
            if error.kind in PASSING:
                raise
            return False if error.kind == "request" else None


def _plain(room: int) -> dict[str, Any]:
    return {"temperature": 0.0, "max_tokens": room}


def _has_logprobs(reply: Reply) -> bool:
    told = reply.choice.get("logprobs")
    # Those of a chat, or of a completion.
    numbers = told.get("content") or told.get("token_logprobs") if isinstance(told, dict) else None
    return isinstance(numbers, list) and bool(numbers)


def _is_the_word(reply: Reply) -> bool:
    # A weak model may fill the room that JSON leaves with blanks: a beginning of the one right answer will do.
    said = "".join(reply.text.split())
    return bool(said) and json.dumps({"word": WORD}, separators=(",", ":")).startswith(said)
