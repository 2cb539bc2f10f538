"""What a trained model thinks of the rows that it was trained on, each by itself: wrong answers stay unlikely."""

from __future__ import annotations

import random
from typing import Any

from .rows import MASKED, READ

# Beyond so many rows, a sample of them, the same each time.
MOST_ROWS = 256


def row_losses(trainer: Any) -> list[tuple[int, float]]:
    """(row of the file from 1, mean loss of its labels in nats), through the trainer's own collator and labels.

    Empty where rows are packed, so that no batch holds one alone, and where several processes share the model.
    """
    import torch

    data = trainer.train_dataset
    if "row" not in data.column_names or trainer.args.world_size > 1:
        return []
    drawn = random.Random(0).sample(range(len(data)), min(len(data), MOST_ROWS))  # noqa: S311  nothing here is secret
    data = data.select(sorted(drawn))
    seen = data.select_columns([name for name in READ if name in data.column_names])
    size, found = trainer.args.per_device_train_batch_size, list[float]()
    model = trainer.model.eval()
    with torch.no_grad():
        for start in range(0, len(seen), size):
            batch = trainer.data_collator([seen[i] for i in range(start, min(start + size, len(seen)))])
            batch = {name: part.to(model.device) for name, part in batch.items() if hasattr(part, "to")}
            labels = batch.pop("labels")[:, 1:]
            with trainer.compute_loss_context_manager():
                logits = model(**batch).logits[:, :-1]
            losses = torch.nn.functional.cross_entropy(
                logits.float().transpose(1, 2), labels, ignore_index=MASKED, reduction="none"
            )
            found += (losses.sum(1) / (labels != MASKED).sum(1).clamp(min=1)).tolist()
    return list(zip(data["row"], found, strict=True))
