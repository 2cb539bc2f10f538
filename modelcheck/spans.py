"""Which part of a rendered conversation belongs to which message, and what of it would carry loss.

Found by rendering the conversation twice: as it is, and with a sentinel in place of every content. What stands between
the sentinels is the template's own; so it works for templates without a generation block, too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# A marker of which only the beginning, or only the end, is there.
HALF_MARKER, CUT_MARKER = re.compile(r"<[^>]*$"), re.compile(r"^[^<]*>")

Messages = Sequence[Mapping[str, Any]]
Render = Callable[[Messages], str | None]


@dataclass(frozen=True, slots=True)
class Turn:
    """One message in the text: `header` [start, content), content [content, tail), tail [tail, end)."""

    role: str
    start: int
    content: int
    tail: int
    end: int
    tail_text: str


class NoSpans(Exception):
    """The template moves, changes or drops contents, so that spans cannot be told. The text says which."""


def turns(messages: Messages, render: Render) -> list[Turn]:
    """The turns of a conversation whose contents are texts. Raises NoSpans with the reason."""
    sentinels = [f"ZX{i}XZ" for i in range(len(messages))]
    masked = [{**m, "content": s} for m, s in zip(messages, sentinels, strict=True)]
    text, frame_text = render(messages), render(masked)
    if text is None or frame_text is None:
        raise NoSpans("the template raises on this conversation")
    frames = _frames(frame_text, sentinels, messages)
    tails = [_tail(render(masked[: i + 1]), s) for i, s in enumerate(sentinels)]
    found, position = [], 0
    for i, message in enumerate(messages):
        content = _expect(text, frames[i], position, message)
        end = _content_end(text, content, str(message["content"]), frames[i + 1], message)
        tail = _owned(tails[i], frames[i + 1], _header(frames, masked, i + 1, render))
        found.append(Turn(str(message["role"]), position, content, end, end + len(tail), tail))
        position = end + len(tail)
        frames[i + 1] = frames[i + 1][len(tail) :]
    return found


def _frames(text: str, sentinels: Sequence[str], messages: Messages) -> list[str]:
    frames, rest = [], text
    for sentinel, message in zip(sentinels, messages, strict=True):
        before, found, rest = rest.partition(sentinel)
        if not found:
            raise NoSpans(f"the template leaves out or moves the content of a {message['role']!r} message")
        frames.append(before)
    return [*frames, rest]


def _tail(text: str | None, sentinel: str) -> str:
    return text.rpartition(sentinel)[2] if text is not None and sentinel in text else ""


def _expect(text: str, frame: str, position: int, message: Mapping[str, Any]) -> int:
    if not text.startswith(frame, position):
        raise NoSpans(f"what the template writes before a {message['role']!r} message depends on the contents")
    return position + len(frame)


def _content_end(text: str, start: int, content: str, frame: str, message: Mapping[str, Any]) -> int:
    for variant in dict.fromkeys((content, content.strip(), content.rstrip(), content.lstrip())):
        if text.startswith(variant + frame, start):
            return start + len(variant)
    end = text.find(frame, start) if frame else len(text)
    if end < 0:
        raise NoSpans(f"what the template writes after a {message['role']!r} message depends on the contents")
    return end


def _owned(tail: str, frame: str, header: str) -> str:
    """The part of a frame that ends the turn before it; the rest is the next turn's header."""
    # What follows the message both where it is the last and where another follows ends this turn; so does what
    # stands before a header that was seen before. Either may take too much, hardly ever too little.
    both = HALF_MARKER.sub("", os.path.commonprefix([tail, frame]))
    before = frame[: len(frame) - len(common_suffix([frame, header]))] if header and tail else ""
    return min(filter(None, (both, before)), key=len, default="")


def _header(frames: Sequence[str], masked: Messages, i: int, render: Render) -> str:
    """What a message of this one's role begins with where no turn ends before it: alone, or earlier on."""
    if i == len(masked):
        return ""
    alone, found, _ = (render(masked[i : i + 1]) or "").partition(str(masked[i]["content"]))
    same = (j for j in range(i) if masked[j]["role"] == masked[i]["role"])
    return alone if found else next((frames[j] for j in same), "")


def common_suffix(texts: Sequence[str]) -> str:
    """The longest text that all of them end with, without a marker whose beginning they do not share."""
    return CUT_MARKER.sub("", os.path.commonprefix([text[::-1] for text in texts])[::-1])


def loss_spans(found: Sequence[Turn], special: Sequence[str]) -> list[tuple[int, int]]:
    """[start, end) of what an assistant-only loss covers: each answer and the token that ends it."""
    return [
        (turn.content, turn.tail + _terminator(turn.tail_text, special)) for turn in found if turn.role == "assistant"
    ]


def _terminator(tail: str, special: Sequence[str]) -> int:
    """How much of the tail the terminator takes: up to and with the first special token, else what is not blank."""
    ends = [tail.find(token) + len(token) for token in special if token and token in tail]
    return min(ends) if ends else len(tail.rstrip())
