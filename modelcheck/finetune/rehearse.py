"""The trainer's part of the way, small: two steps at the longest row and the real batch, merge, save, load, compare.

Whatever will fail after hours fails here after seconds, and memory and time of the real run are known before it. The
answers of what was saved are the evaluation engine's part.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .protocol import Emit
from .recipe import Recipe

STEPS = 2


def rehearse(
    recipe: Recipe,
    folder: Path,
    prompts: Sequence[Sequence[int]],
    emit: Emit,
    evaluated: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Run a recipe for two steps in `folder`. Raises whatever the real run would raise.

    `peak_memory` in bytes, `seconds_per_step` of the second step (the first also warms up), `seconds` of the real run
    at that speed, `merged` the saved folder, `artifact` how it agrees with the adapter.
    """
    from .artifact import compare
    from .trainers import trl
    from .trainers.rows import read_rows

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rows = read_rows(recipe.rows)
    tokenizer = trl.load_tokenizer(recipe)
    longest = max(rows, key=lambda row: _length(row, tokenizer, recipe))
    needed = recipe.train.batch * recipe.train.grad_accum * STEPS
    same = folder / "rows.jsonl"
    same.write_text(f"{json.dumps(longest)}\n" * needed, encoding="utf-8")
    times: list[float] = []

    def hear(event: str, **data: object) -> None:
        times.append(time.monotonic())
        emit(event, **data)

    short = dataclasses.replace(recipe.train, max_steps=STEPS, epochs=1.0, report_to=())
    small = dataclasses.replace(recipe, rows=same, eval_rows=None, out=folder, train=short)
    trained = trl.train(small, hear, evaluated)
    compared = compare(recipe.base, small.adapter if recipe.adapts else None, small.merged, recipe.dtype, prompts)
    steps, per_step = trl.steps_of(recipe, len(rows)), times[-1] - times[-2]
    return {
        "longest_row": _length(longest, tokenizer, recipe),
        "peak_memory": max(trained["peak_memory"], trl.peak_memory()),
        "seconds_per_step": round(per_step, 4),
        "steps": steps,
        "seconds": round(per_step * steps, 1),
        "merged": str(small.merged),
        "log": str(small.log),
        "artifact": compared,
        "loaded": trained["loaded"],
        "saved_is_loaded": trained["merged_weights"] == compared["reloaded_weights"],
    }


def _length(row: Mapping[str, Any], tokenizer: Any, recipe: Recipe) -> int:
    if "text" in row:
        return len(tokenizer(row["text"])["input_ids"])
    given = {"tools": row["tools"]} if row.get("tools") else {}
    text = tokenizer.apply_chat_template(row["messages"], tokenize=False, **given, **recipe.template_args)
    return min(recipe.max_length, len(tokenizer(text, add_special_tokens=False)["input_ids"]))
