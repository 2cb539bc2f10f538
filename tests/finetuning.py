"""The tiny job's parts, for tests that run its stages."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modelcheck.finetune.job import Generation, Lora, Schedule, Train
from modelcheck.finetune.recipe import Recipe

TINY = Path(__file__).parent.parent / "examples" / "tiny"
BASE = TINY / "base"
GREEDY = dataclasses.asdict(Generation(max_tokens=16))
TEMPLATE = (BASE / "chat_template.jinja").read_text()
WITHOUT_BLOCK = TEMPLATE.replace("{%- generation %}", "").replace("{%- endgeneration %}", "")
END_OUTSIDE = TEMPLATE.replace(
    "message.content + '<|im_end|>' }}{%- endgeneration", "message.content }}{%- endgeneration"
)
END_OUTSIDE = END_OUTSIDE.replace("endgeneration %}", "endgeneration %}{{- '<|im_end|>' }}")


def conversations(name: str, count: int | None = None) -> list[list[dict[str, str]]]:
    """The rows of a data file of the tiny job as conversations."""
    rows = [json.loads(line) for line in (TINY / f"{name}.jsonl").read_text().splitlines()[:count]]
    return [
        [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["answer"]}] for row in rows
    ]


def recipe(folder: Path, chats: Sequence[Any], **changes: Any) -> Recipe:
    """A recipe for some conversations, with the tiny job's settings; `changes` of Train or of Recipe by name."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = folder / "rows.jsonl"
    rows.write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))
    fields = {field.name for field in dataclasses.fields(Train)}
    train = Train(
        **{
            "epochs": 1.0,
            "lr": 4e-3,
            "batch": 8,
            "grad_accum": 1,
            "lora": Lora(r=16, trainable_tokens="none"),
            "schedule": Schedule(warmup=0.05),
            "report_to": (),
            "args": {"gradient_checkpointing": False},
            **{name: value for name, value in changes.items() if name in fields},
        }
    )
    given = {"base": str(BASE), "dtype": "float32", "max_length": 128}
    rest = {name: value for name, value in changes.items() if name not in fields}
    return Recipe(**{**given, **rest, "rows": rows, "out": folder / "out", "train": train})
