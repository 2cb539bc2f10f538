"""What a server can do besides answering: each asked for and the answer looked at, because some ignore in silence."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from modelcheck.finetune.chat.client import Reply
from modelcheck.finetune.chat.endpoint import ChatError

# A word that no model says of its own.
WORD = "qxmodelcheckzj"
SCHEMA = {
    "type": "object",
    "properties": {"word": {"enum": [WORD]}},
    "required": ["word"],
    "additionalProperties": False,
}
GRAMMAR = f'root ::= "{WORD}"'
ROOM = 64
# What says nothing about the server's abilities.
PASSING = ("key", "connection", "timeout", "refused", "busy")


def grammar_fields(text: str) -> dict[str, dict[str, Any]]:
    """{name of the way: the fields of a request that hold an answer to a grammar}: vLLM's, llama.cpp's, SGLang's."""
    return {
        "structured_outputs": {"structured_outputs": {"grammar": text}},
        "grammar": {"grammar": text},
        "ebnf": {"ebnf": text},
    }


def abilities(send: Callable[..., Reply]) -> dict[str, Any]:
    """What a server turns out to do. `send` puts a question with the fields that it is given.

    `logprobs`: it tells them. `json_schema`: it holds answers to the schema of a `response_format`. `grammar`: the
    name of the way (`grammar_fields`) in which it holds answers to a grammar, or None. `token_ids`: it tells those of
    its answers.
    """
    schema = {"type": "json_schema", "json_schema": {"name": "word", "strict": True, "schema": SCHEMA}}
    return {
        "logprobs": _seen(send, _has_logprobs, logprobs=True, top_logprobs=1, max_tokens=2),
        "json_schema": _seen(send, _is_the_word, response_format=schema, max_tokens=ROOM),
        "grammar": grammar_way(send),
        "token_ids": _seen(send, lambda reply: bool(reply.ids), return_token_ids=True, max_tokens=2),
    }


def grammar_way(send: Callable[..., Reply]) -> str | None:
    """The name of the way in which a server holds answers to a grammar."""
    ways = grammar_fields(GRAMMAR)
    found = (name for name in ways if _seen(send, lambda r: r.text.strip() == WORD, **ways[name], max_tokens=ROOM))
    return next(found, None)


def _seen(send: Callable[..., Reply], holds: Callable[[Reply], bool], **fields: Any) -> bool:
    try:
        return holds(send(**fields, temperature=0.0))
    except ChatError as error:
        if error.kind in PASSING:
            raise
        return False


def _has_logprobs(reply: Reply) -> bool:
    told = reply.choice.get("logprobs")
    # Those of a chat, or of a completion.
    numbers = told.get("content") or told.get("token_logprobs") if isinstance(told, dict) else None
    return isinstance(numbers, list) and bool(numbers)


def _is_the_word(reply: Reply) -> bool:
    # A weak model may fill the room that JSON leaves with blanks: a beginning of the one right answer will do.
    said = "".join(reply.text.split())
    return bool(said) and json.dumps({"word": WORD}, separators=(",", ":")).startswith(said)
