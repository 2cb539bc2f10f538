"""Rows as the trainer gets them: conversations where it can mask them itself, else ids and labels by spans."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from modelcheck.finetune.protocol import StageError
from modelcheck.finetune.recipe import Recipe
from modelcheck.spans import NoSpans, loss_spans, turns

MASKED = -100
# The columns that the trainer hands to its collator.
READ = ("input_ids", "labels", "seq_lengths")
Row = Mapping[str, Any]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file that the job wrote: `{"messages": [...], "tools": [...]?}` or `{"text": ...}` a line."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def by_spans(recipe: Recipe, tokenizer: Any) -> bool:
    """Whether the labels come from spans: the loss leaves something out and the template does not mark what."""
    from trl.chat_template_utils import has_generation_markers

    return recipe.train.loss_on != "all" and not has_generation_markers(tokenizer.chat_template or "")


def dataset(rows: Sequence[Row], recipe: Recipe, tokenizer: Any) -> Any:
    """A `datasets.Dataset` in the form that makes SFTTrainer mask as the recipe asks; `row` counts from 1."""
    from datasets import Dataset

    if rows and "text" in rows[0]:
        if recipe.train.loss_on != "all":
            raise StageError(
                f"the rows are texts, in which nobody knows the answers of train.loss_on = {recipe.train.loss_on!r}: "
                "set it to 'all', or bring messages"
            )
        return Dataset.from_list([{"text": row["text"], "row": i} for i, row in enumerate(rows, start=1)])
    if not tokenizer.chat_template:
        raise StageError(f"{recipe.base} has no chat template: name one under data.template")
    if by_spans(recipe, tokenizer):
        spans = Spans(recipe, tokenizer)
        made = [_labelled(row, i, recipe, spans, tokenizer) for i, row in enumerate(rows, start=1)]
    else:
        shaped = _completion if recipe.train.loss_on == "completion" else _conversation
        made = [shaped(row) | _for_template(row, recipe) for row in rows]
    return Dataset.from_list([{**row, "row": i} for i, row in enumerate(made, start=1)])


def _conversation(row: Row) -> dict[str, Any]:
    return {"messages": row["messages"]}


def _completion(row: Row) -> dict[str, Any]:
    return {"prompt": row["messages"][:-1], "completion": row["messages"][-1:]}


def _for_template(row: Row, recipe: Recipe) -> dict[str, Any]:
    given: dict[str, Any] = {"chat_template_kwargs": dict(recipe.template_args)} if recipe.template_args else {}
    return given | ({"tools": json.dumps(row["tools"])} if row.get("tools") else {})


def _labelled(row: Row, number: int, recipe: Recipe, known: Spans, tokenizer: Any) -> dict[str, Any]:
    """Ids, and labels on the answers and the tokens that end them; with `completion`, on the last answer alone."""
    try:
        text, spans = known.of(row)
    except NoSpans as reason:
        remedy = "put {% generation %} around the answers in the template, or set train.loss_on = 'all'"
        raise StageError(f"row {number}: which tokens are the answer cannot be told: {reason}; {remedy}") from None
    if recipe.train.loss_on == "completion":
        spans = spans[-1:]
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    inside = [any(first < end and start < last for first, last in spans) for start, end in offsets]
    return {"input_ids": ids, "labels": [i if loss else MASKED for i, loss in zip(ids, inside, strict=True)]}


class Spans:
    """Where the answers of rows are in their text, under one template and its arguments."""

    def __init__(self, recipe: Recipe, tokenizer: Any) -> None:
        self._tokenizer, self._args = tokenizer, recipe.template_args
        self._added = list(tokenizer.get_added_vocab())
        # Rows of one shape have their frame, which takes most of the rendering, in common.
        self._rendered = lru_cache(maxsize=1024)(self._render)

    def of(self, row: Row) -> tuple[str, list[tuple[int, int]]]:
        """The rendered row, and [start, end) of each answer with the token that ends it. Raises NoSpans."""
        given = {"tools": row["tools"]} if row.get("tools") else {}

        def render(messages: Any) -> str | None:
            return self._rendered(json.dumps({"conversation": list(messages), **given}))

        found = turns(row["messages"], render)
        return render(row["messages"]) or "", loss_spans(found, self._added)

    def _render(self, given: str) -> str | None:
        try:
            return str(self._tokenizer.apply_chat_template(**json.loads(given), tokenize=False, **self._args))
        except Exception:  # whatever a template raises
            return None
