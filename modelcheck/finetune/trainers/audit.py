"""The labels of the real trainer object, read from its own data loader, and what of the model would learn.

Nothing of masking is done again here: the trainer is the job's, on a one-layer model of the base's class.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from modelcheck.finetune.protocol import Emit
from modelcheck.finetune.recipe import Recipe
from modelcheck.spans import NoSpans

from . import trl
from .lora import lora_config, on_meta, wrapped_on_meta
from .rows import MASKED, READ, Row, Spans, read_rows
from .trainability import trainability

# Beyond so many rows, a sample that is spread evenly over the file.
MOST_ROWS = 2000
PREVIEWED = 8

Ids = Sequence[int]


def audit(
    recipe: Recipe, out: Path, emit: Emit, prompts: Sequence[Ids] = (), stop_ids: Ids = ()
) -> dict[str, dict[str, Any]]:
    """`labels`, `trainability` and `preview` of a recipe. `out` is a folder for what the trainer wants to write.

    `prompts` are those that evaluation would give for the first rows: each must be what its row begins with. `stop_ids`
    are where evaluation stops.
    """
    tokenizer = trl.load_tokenizer(recipe)
    every = read_rows(recipe.rows)
    rows = every[:: -(-len(every) // MOST_ROWS)] if len(every) > MOST_ROWS else every
    quiet = {"use_cpu": True, "bf16": False, "fp16": False, "report_to": "none", "eval_strategy": "no"}
    quiet |= {"load_best_model_at_end": False}  # which needs an evaluation
    apart = dataclasses.replace(recipe, out=out, eval_rows=None)
    trainer = trl.build(apart, trl.one_layer(recipe), tokenizer, rows, **quiet)
    batches, first = list(_batches(trainer)), _in_order(trainer)
    emit("progress", step=1, total=2)
    found = {
        "labels": _labels(batches, rows, trainer, tokenizer, recipe, stop_ids) | _prompts_held_against(first, prompts),
        "trainability": _of_full_depth(recipe),
        "preview": {"rows": list(_preview(first, tokenizer))},
    }
    found["labels"]["rows"] = len(every)
    return found


def _of_full_depth(recipe: Recipe) -> dict[str, Any]:
    config = AutoConfig.from_pretrained(recipe.base, revision=recipe.revision)
    model = wrapped_on_meta(config, lora_config(recipe, config)) if recipe.adapts else on_meta(config)
    return trainability(model, recipe)


def _batches(trainer: Any) -> Iterator[list[tuple[list[int], list[int]]]]:
    """Each batch of one epoch as the model would get it."""
    return (_rows(batch) for batch in trainer.get_train_dataloader())


def _rows(batch: Mapping[str, Any]) -> list[tuple[list[int], list[int]]]:
    """(ids, labels) of the rows of a batch, without padding."""
    there = batch["attention_mask"] if "attention_mask" in batch else batch["input_ids"] >= 0
    return [
        (ids[mask].tolist(), labels[mask].tolist())
        for ids, labels, mask in zip(batch["input_ids"], batch["labels"], there.bool(), strict=True)
    ]


def _in_order(trainer: Any) -> list[dict[str, Any]]:
    """The first rows in the order of the file, each through the trainer's own collator; none where rows are packed."""
    data = trainer.train_dataset
    if "row" not in data.column_names:
        return []
    first = data.select(range(min(PREVIEWED, len(data))))
    seen = first.select_columns([name for name in READ if name in first.column_names])
    made = [_rows(trainer.data_collator([row]))[0] for row in seen]
    numbers = first["row"]
    return [{"row": n, "input_ids": ids, "labels": labels} for n, (ids, labels) in zip(numbers, made, strict=True)]


def _labels(
    batches: Sequence[Sequence[tuple[Ids, Ids]]],
    rows: Sequence[Row],
    trainer: Any,
    tokenizer: Any,
    recipe: Recipe,
    stop_ids: Ids,
) -> dict[str, Any]:
    ends = sorted(set(stop_ids) or {tokenizer.eos_token_id} - {None})
    read = [row for batch in batches for row in batch]
    prompts = _prompt_masks(rows, recipe, tokenizer)
    known = [(labels, prompts[tuple(ids)]) for ids, labels in read if tuple(ids) in prompts]
    return {
        "loss_on": recipe.train.loss_on,
        "audited": len(read),
        "dropped": len(rows) - len(trainer.train_dataset),
        "tokens": sum(len(ids) for ids, _ in read),
        "supervised": sum(_learnt(labels) for _, labels in read),
        "end_ids": ends,
        "end_tokens": [str(tokenizer.convert_ids_to_tokens(i)) for i in ends],
        "ends_supervised": sum(sum(label in ends for label in labels[1:]) for _, labels in read),
        "rows_without_end": sum(not any(label in ends for label in labels[1:]) for _, labels in read),
        "rows_without_loss": sum(not _learnt(labels) for _, labels in read),
        "prompt_tokens": sum(sum(mask) for _, mask in known),
        "prompt_supervised": sum(
            sum(m and label != MASKED for m, label in zip(mask, labels, strict=True)) for labels, mask in known
        ),
        "prompt_rows": len(known),
        "batches": [
            {
                "rows": len(batch),
                "supervised": sum(_learnt(labels) for _, labels in batch),
                "ends": sum(sum(label in ends for label in labels[1:]) for _, labels in batch),
            }
            for batch in batches
        ],
    }


def _learnt(labels: Ids) -> int:
    # The first label is nobody's target: a model predicts from the second on.
    return sum(label != MASKED for label in labels[1:])


def _prompt_masks(rows: Sequence[Row], recipe: Recipe, tokenizer: Any) -> dict[tuple[int, ...], list[bool]]:
    """{ids of a row: which of them are no part of an answer}, by the spans of `modelcheck render`.

    Rows in which answers cannot be told are left out, and so are texts.
    """
    known, told = Spans(recipe, tokenizer), list[tuple[str, list[tuple[int, int]]]]()
    for row in rows:
        with suppress(NoSpans):
            told.append(known.of(row) if "messages" in row else ("", []))
    texts = [text for text, _ in told]
    encoded = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True) if told else {}
    return {
        tuple(ids[: recipe.max_length]): [
            not any(a < end and start < b for a, b in spans) for start, end in offsets[: recipe.max_length]
        ]
        for ids, offsets, (_, spans) in zip(
            encoded.get("input_ids", ()), encoded.get("offset_mapping", ()), told, strict=True
        )
    }


def _prompts_held_against(rows: Sequence[Mapping[str, Any]], prompts: Sequence[Ids]) -> dict[str, Any]:
    """Whether the model will be asked what it was taught.

    Does each row begin with the prompt of evaluation, and does the loss begin where that prompt ends, or before?
    """
    by_row = {row["row"]: row for row in rows}
    compared = [(by_row[i], prompt) for i, prompt in enumerate(prompts, start=1) if i in by_row]
    other = [row["row"] for row, prompt in compared if list(row["input_ids"][: len(prompt)]) != list(prompt)]
    late = [
        row["row"]
        for row, prompt in compared
        if row["row"] not in other and all(label == MASKED for label in row["labels"][len(prompt) : len(prompt) + 1])
    ]
    return {"prompts_compared": len(compared), "prompts_other": other, "prompts_short": late}


def _preview(rows: Sequence[Mapping[str, Any]], tokenizer: Any) -> Iterator[dict[str, Any]]:
    for row in rows:
        ids = list(row["input_ids"])
        yield {
            "row": row["row"],
            "ids": ids,
            "texts": [tokenizer.decode([i]) for i in ids],
            "supervised": [label != MASKED for label in row["labels"]],
        }
