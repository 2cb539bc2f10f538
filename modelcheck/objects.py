"""The live objects of a trainer, under the names that trainers give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from modelcheck.errors import did_you_mean


class Objects(TypedDict, total=False):
    """What a trainer can hand in. `processing_class` is what newer trainers call the tokenizer."""

    tokenizer: object
    processing_class: object
    model: object
    peft_config: object
    args: object
    train_dataset: object
    eval_dataset: object
    data_collator: object


def present(objects: Mapping[str, Any]) -> dict[str, object]:
    """The objects that are not None, `processing_class` under the name `tokenizer`.

    Raises TypeError for a name that is none of them.
    """
    for name in objects:
        if name not in Objects.__annotations__:
            raise TypeError(f"unexpected argument {name!r}{did_you_mean(name, Objects.__annotations__)}")
    live = {name: value for name, value in objects.items() if value is not None}
    if "processing_class" in live:
        live.setdefault("tokenizer", live.pop("processing_class"))
    return live
