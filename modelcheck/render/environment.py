"""The Jinja environment of transformers' `apply_chat_template`, rebuilt on jinja2 alone.

Held equal to transformers 5.23, byte for byte, by tests/test_render.py. Runs inside the child process only, and
imports nothing of modelcheck so that the child starts fast.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

OUTPUT_LIMIT = 8 << 20
REASONING = ("reasoning_content", "thinking", "reasoning")
CONTINUE = "CONTINUE_FINAL_MESSAGE_TAG "
# Private-use characters around what a generation block prints, where a caller asks for its spans.
BLOCK_START, BLOCK_END = "\ue0a0", "\ue0a1"

Message = Mapping[str, Any]


class OutputTooLong(Exception):
    """The template wrote more than OUTPUT_LIMIT characters."""


class GenerationTag(Extension):
    """`{% generation %}...{% endgeneration %}`, which marks what the model writes and prints its body."""

    tags = {"generation"}
    marking = False

    def parse(self, parser: Parser) -> nodes.Node:
        """Parse the block into a call that returns the body unchanged."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("body"), [], [], body).set_lineno(line)

    def body(self, caller: Macro) -> str:
        """The body as it is, or between marks."""
        text = str(caller())
        return f"{BLOCK_START}{text}{BLOCK_END}" if GenerationTag.marking else text


class PlainDict:
    """What the name `dict` means in a template: builds a dict, offers nothing of the type."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        """`dict.fromkeys`."""
        return dict.fromkeys(*args)


class GuardedNamespace(Namespace):
    """`namespace(...)` that refuses attributes with a leading underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        # No named parameters, so that a template may write namespace(self=...).
        self, *positional = args
        attributes = dict(*positional, **kwargs)
        for name in attributes:
            _refuse_private(name)
        Namespace.__init__(self, attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _refuse_private(name)
        super().__setitem__(name, value)


def _refuse_private(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(f"a namespace cannot hold {name!r}: it begins with an underscore")


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def environment(clock: Callable[[], datetime]) -> jinja2.Environment:
    """The environment in which templates are compiled; `strftime_now` asks `clock`."""
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, loopcontrols])
    env.filters["tojson"] = _tojson
    env.globals |= {
        "raise_exception": _raise_exception,
        "strftime_now": lambda format: clock().strftime(format),
        "dict": PlainDict(),
        "namespace": GuardedNamespace,
    }
    return env


def render(
    template: jinja2.Template,
    messages: Sequence[Message],
    *,
    tools: Sequence[Mapping[str, Any]] | None = None,
    documents: Sequence[Mapping[str, Any]] | None = None,
    add_generation_prompt: bool = False,
    continue_final_message: bool = False,
    source: str = "",
    **variables: Any,
) -> str:
    """The conversation as `apply_chat_template(tokenize=False)` returns it.

    `source` is the template's text, needed with `continue_final_message`. Raises what the template raises, ValueError
    where transformers refuses the conversation, and OutputTooLong.
    """
    if not messages:
        raise ValueError("there is no message")
    if continue_final_message and add_generation_prompt:
        raise ValueError("a final message cannot be continued after a generation prompt")
    chat = [_with_reasoning({k: v for k, v in message.items() if v is not None}) for message in messages]
    final = _tag_final_message(chat, source) if continue_final_message else ""
    arguments = {"tools": tools, "documents": documents, "add_generation_prompt": add_generation_prompt}
    text = _bounded(template, {"messages": chat, **arguments, **variables})
    return _cut_at_tag(text, final) if continue_final_message else text


def render_blocks(template: jinja2.Template, messages: Sequence[Message], **keywords: Any) -> list[tuple[int, int]]:
    """The spans [start, end) of the rendered text that stand in generation blocks."""
    GenerationTag.marking = True
    try:
        text = render(template, messages, **keywords)
    finally:
        GenerationTag.marking = False
    spans: list[tuple[int, int]] = []
    start = length = 0
    for piece in re.split(f"([{BLOCK_START}{BLOCK_END}])", text):
        if piece == BLOCK_START:
            start = length
        elif piece == BLOCK_END:
            spans.append((start, length))
        else:
            length += len(piece)
    return spans


def _bounded(template: jinja2.Template, variables: Mapping[str, Any]) -> str:
    pieces, length = [], 0
    for piece in template.generate(**variables):
        length += len(piece)
        if length > OUTPUT_LIMIT:
            raise OutputTooLong
        pieces.append(piece)
    return "".join(pieces)


def _with_reasoning(message: dict[str, Any]) -> dict[str, Any]:
    # Reasoning travels under several names; templates read the first, gpt-oss reads `thinking`.
    reasoning = next((message[name] for name in REASONING if message.get(name) is not None), None)
    if reasoning is None:
        return message
    return {"thinking": reasoning, **message, "reasoning_content": reasoning}


def _tag_final_message(chat: list[dict[str, Any]], source: str) -> str:
    content = chat[-1].get("content") if chat else None
    if content is None or "content" not in source:
        raise ValueError("the final message has no content to continue")
    if isinstance(content, str):
        chat[-1]["content"] = content + CONTINUE
        return content
    for i in reversed(range(len(content))):
        if "text" in content[i]:
            text = str(content[i]["text"])
            parts = [*content[:i], {**content[i], "text": text + CONTINUE}, *content[i + 1 :]]
            chat[-1]["content"] = parts
            return text
    raise ValueError("the final message has no text to continue")


def _cut_at_tag(text: str, final: str) -> str:
    tag = CONTINUE.strip()
    if final.strip() not in text or tag not in text:
        raise ValueError("the final message does not appear in the rendered chat")
    end = text.rindex(tag)
    # Where the template trimmed the message, the space that belongs to the tag is gone, and so is the message's.
    return text[:end] if text.startswith(CONTINUE, end) else text[:end].rstrip()
