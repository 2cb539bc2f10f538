"""`modelcheck render`: a conversation as the model gets it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from modelcheck import packs
from modelcheck.engine import Options
from modelcheck.errors import UsageError
from modelcheck.fact import Unavailable
from modelcheck.facts.chat_template import Template
from modelcheck.facts.files import json_type
from modelcheck.facts.tokenizer import Tokenizer
from modelcheck.markers import NoMarker, marker
from modelcheck.render.renderer import Renderer
from modelcheck.resolver import Resolver
from modelcheck.sources import Access, Remote
from modelcheck.sources.opening import open_source
from modelcheck.spans import NoSpans, Turn, loss_spans, turns

# Beside the messages, what a template is given of a request, as `apply_chat_template` calls it.
FIELDS = ("tools", "documents")
ALWAYS = ("add_generation_prompt",)
# Where turns begin and end is read off without the header of an answer that is still to come.
CLOSED = {"add_generation_prompt": False}
SAMPLE = [
    {"role": "system", "content": "Answer in one sentence."},
    {"role": "user", "content": "What is a tokenizer?"},
    {"role": "assistant", "content": "It turns text into numbers."},
    {"role": "user", "content": "And a template?"},
    {"role": "assistant", "content": "It frames the turns of a conversation."},
]


@dataclass(frozen=True, slots=True)
class Conversation:
    """A rendered conversation. `turns` is empty and `why_not` set where messages cannot be told apart in it.

    `loss` are spans of the text; `by_blocks` says that they are the template's own generation blocks. `markers` are the
    texts before user and assistant messages, or why there is none.
    """

    text: str
    turns: Sequence[Turn]
    why_not: str | None
    loss: Sequence[tuple[int, int]]
    by_blocks: bool
    tokenizer: Tokenizer | None
    markers: Mapping[str, str | NoMarker]


def conversation(
    target: str | os.PathLike[str],
    messages: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
    access: Access | None = None,
) -> Conversation:
    """Render messages with the target's template. Raises UsageError where it has none or the template raises."""
    with Renderer() as renderer, ExitStack() as stack:
        source = open_source(target, access or Access())
        if isinstance(source, Remote):
            stack.callback(source.close)
        facts = Resolver(packs.load().facts, {**Options().given(), "renderer": renderer, "source": source})
        try:
            templates: Mapping[str, Template] = facts["chat_template"]
            variables = {role: token.content for role, token in facts["special_tokens"].by_role.items()}
        except Unavailable as reason:
            raise UsageError(f"{target}: {reason}") from None
        template = templates.get("default") or next(iter(templates.values()))
        for name in settings:
            if name not in (*ALWAYS, *FIELDS) and name not in template.text:
                raise UsageError(f"{target}: the chat template does not use {name!r}, so setting it changes nothing")

        now = datetime.now().astimezone().replace(tzinfo=None).isoformat(timespec="seconds")

        def ask(chat: Sequence[Mapping[str, Any]], **more: Any) -> dict[str, Any]:
            asked = {"messages": list(chat), "clock": now, **settings, **more}
            answer = renderer.render(template.text, variables, [asked])
            return answer["outcomes"][0] if "outcomes" in answer else {"error": _reason(answer)}

        return _read(ask(messages, blocks_too=True), messages, ask, facts)


def _read(first: dict[str, Any], messages: Sequence[Mapping[str, Any]], ask: Any, facts: Resolver) -> Conversation:
    if "error" in first:
        raise UsageError(f"the chat template raises on this conversation: {first['error']}")
    text, blocks = first["text"], [(start, end) for start, end in first["blocks"]]
    tokenizer = _tokenizer(facts)
    special = [*tokenizer.special.values()] if tokenizer else [t.content for _, t in facts["special_tokens"]]
    found: Sequence[Turn] = ()
    why_not = None
    try:
        found = turns(messages, lambda chat: ask(chat, **CLOSED).get("text"))
    except NoSpans as reason:
        why_not = str(reason)
    loss = blocks or loss_spans(found, special)
    return Conversation(text, found, why_not, loss, bool(blocks), tokenizer, _markers(messages, ask, tokenizer))


def _markers(messages: Sequence[Mapping[str, Any]], ask: Any, tokenizer: Tokenizer | None) -> dict[str, str | NoMarker]:
    # Where a template folds the system message into the first user turn, its header is the system's: leave it out.
    chat: Sequence[Mapping[str, Any]] = [m for m in messages if m["role"] in ("user", "assistant")]
    if any(sum(message["role"] == role for message in chat) < 2 for role in ("user", "assistant")):
        chat = SAMPLE[1:]  # of a lone header nobody can say what is a BOS before it
    markers: dict[str, str | NoMarker] = {}
    for role in ("user", "assistant"):
        try:
            text = ask(chat, **CLOSED).get("text") or ""
            found = turns(chat, lambda part: ask(part, **CLOSED).get("text"))
            markers[role] = marker(text, found, role, tokenizer)
        except NoSpans as reason:
            markers[role] = NoMarker(str(reason))
        except NoMarker as reason:
            markers[role] = reason
    return markers


def _tokenizer(facts: Resolver) -> Tokenizer | None:
    try:
        tokenizer: Tokenizer = facts["tokenizer"]
    except Unavailable:
        return None
    return tokenizer


def _reason(answer: Mapping[str, Any]) -> str:
    return str(answer["killed"] if "killed" in answer else answer["error"]["message"])


def read_messages(path: Path | None) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """(messages, what goes to the template beside them) of a JSON file: a list, or an object with `messages`.

    Raises UsageError for anything else.
    """
    if path is None:
        return list(SAMPLE), {}
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
        json.dumps(document, ensure_ascii=False).encode()  # half of a surrogate pair is no text
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path}: {error}") from None
    beside = dict(document) if isinstance(document, dict) else {"messages": document}
    messages = beside.pop("messages", None)
    fits = isinstance(messages, list) and messages and all(isinstance(m, dict) and _is_message(m) for m in messages)
    if not fits:
        raise UsageError(f"{path}: expected a list of messages, each with a role and a content that is a text")
    for name, value in beside.items():
        if name not in FIELDS or not isinstance(value, list):
            known = " and ".join(FIELDS)
            raise UsageError(f"{path}: {name} is a {json_type(value)}; beside messages there may be lists, {known}")
    return messages, beside


def _is_message(message: Mapping[str, Any]) -> bool:
    return isinstance(message.get("role"), str) and isinstance(message.get("content"), str)
