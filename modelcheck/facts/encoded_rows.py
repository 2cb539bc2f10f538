"""Rows as the model gets them: rendered by the checkpoint's own template, encoded by its own tokenizer."""

from __future__ import annotations

import heapq
import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelcheck.dataset.example import Example, text_of
from modelcheck.dataset.limit import RowLimit
from modelcheck.fact import Missing, NotApplicable, fact
from modelcheck.render.renderer import Renderer, RendererError

from .chat_template import Template
from .config import Config
from .dataset import Dataset, Split
from .special_tokens import SpecialTokens
from .tokenizer import Tokenizer

# Rows of a split that are rendered: the longest, which are those that matter for what is cut.
MOST_ENCODED = 2000
# Rows that one process renders: it has two seconds, and a row takes some 50 microseconds.
BATCH = 256


@dataclass(frozen=True, slots=True)
class EncodedRow:
    """A row and its token ids without blanks at the end, with what encoding puts before a text."""

    example: Example
    ids: array[int]


@dataclass(frozen=True, slots=True)
class EncodedSplit:
    """The rows of a split, or the longest of them; `raised` are those on which the template raises, with its words."""

    split: Split
    rows: tuple[EncodedRow, ...]
    raised: tuple[tuple[Example, str], ...]

    def of(self, count: int) -> str:
        """`3 of 200 rows`, and that there may be more."""
        seen = len(self.rows) + len(self.raised)
        return f"{'at least ' * (seen < len(self.split.examples))}{self.split.of(count)}"


@fact
def row_limit(config: Config) -> RowLimit:
    """How many tokens a row may have: what training is set to, else the positions that the model was made for."""
    positions = config.integer("max_position_embeddings", of_text=True)
    if not positions or positions < 0:
        raise NotApplicable("the config names no number of positions")
    return RowLimit(positions, "max_position_embeddings")


@fact
def encoded_rows(
    dataset: Dataset,
    tokenizer: Tokenizer,
    special_tokens: SpecialTokens,
    renderer: Renderer,
    chat_template: Mapping[str, Template] | None = None,
) -> tuple[EncodedSplit, ...]:
    """The splits of the data set, encoded. Rows of messages need a chat template."""
    variables = {role: token.content for role, token in special_tokens.by_role.items()}
    template = _template(dataset, chat_template or {})

    def render(rows: Sequence[Example]) -> Iterator[tuple[Example, str | None, str]]:
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            asked = [_asked(row, dataset.template_args) for row in batch if row.text is None]
            try:
                outcomes = iter(_outcomes(renderer.render(template, variables, asked)) if asked else ())
            except RendererError as error:
                raise Missing(str(error)) from error
            for row in batch:
                outcome = {"text": row.text} if row.text is not None else next(outcomes)
                yield row, outcome.get("text"), str(outcome.get("error"))

    return tuple(_encoded(split, render, tokenizer) for split in dataset.splits)


def _template(dataset: Dataset, templates: Mapping[str, Template]) -> str:
    if all(row.text is not None for split in dataset.splits for row in split.examples):
        return ""
    template = templates.get("default") or next(iter(templates.values()), None)
    if template is None:
        raise Missing("there is no chat template to render the rows with", remedy="--chat-template FILE")
    return template.text


def _asked(row: Example, arguments: Mapping[str, Any]) -> dict[str, Any]:
    asked = {"messages": row.messages, **({"tools": row.tools} if row.tools else {}), **arguments}
    # An image among the parts of a message is an object; templates look at its type only.
    plain: dict[str, Any] = json.loads(json.dumps(asked, default=str))
    return plain


def _outcomes(answer: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    if "outcomes" not in answer:
        reason = answer.get("killed") or answer.get("stalled") or answer["error"]["message"]
        raise Missing(f"the chat template cannot render the rows: {reason}")
    outcomes: Sequence[Mapping[str, Any]] = answer["outcomes"]
    return outcomes


def _encoded(split: Split, render: Any, tokenizer: Tokenizer) -> EncodedSplit:
    rows: Sequence[Example] = [row for row in split.examples if row.messages or row.text]
    if len(rows) > MOST_ENCODED:
        rows = heapq.nlargest(MOST_ENCODED, rows, key=_length)
    encoded, raised = [], []
    for row, text, error in render(rows):
        if text is None:
            raised.append((row, error))
            continue
        try:
            encoded.append(EncodedRow(row, _ids(tokenizer, text, framed=row.text is not None)))
        except Missing as problem:  # a character that the tokenizer does not know
            raised.append((row, str(problem)))
    return EncodedSplit(split, tuple(encoded), tuple(raised))


def _ids(tokenizer: Tokenizer, text: str, *, framed: bool) -> array[int]:
    return array("I", [*(tokenizer.prefix if framed else ()), *tokenizer.encode(text.rstrip())])


def _length(row: Example) -> int:
    return len(row.text or "") + sum(len(text_of(message)) for message in row.messages)
