"""What goes into an engine and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# What `answer_ids` of an identity say of a server that does not tell them: as many as the model wrote are they not.
RETOKENISED = "the text, tokenised again"


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
    """One answer: its ids without the stop token, its text, and why it ended: `stop` or `length`.

    `counted` are the tokens `read` and `written` by the count of whoever answered, each None where it does not tell:
    of another model, whose ids mean nothing here and are left out. `apart`: a server has given the thinking by itself,
    and the text has none of it, whatever the prompt opened.
    """

    key: str
    ids: list[int]
    text: str
    finish: str
    counted: Mapping[str, int | None] | None = None
    apart: bool = False


def read(key: str, row: Sequence[int], tokenizer: Any, stop: Sequence[str], stop_ids: Sequence[int]) -> Answer:
    """The answer in generated ids, cut at the first of `stop_ids` and at the first text of `stop`: one way for all."""
    end = next((i for i, token in enumerate(row) if token in stop_ids), None)
    ids = list(row if end is None else row[:end])
    text = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    cut = min((at for part in stop if (at := text.find(part)) >= 0), default=None)
    finish = "length" if end is None and cut is None else "stop"
    return Answer(key, ids, text if cut is None else text[:cut], finish)
