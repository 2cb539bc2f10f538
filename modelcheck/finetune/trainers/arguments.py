"""What of `train.args` the trainer does not take, told before anything is trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from trl.trainer.sft_config import SFTConfig

from modelcheck.errors import did_you_mean
from modelcheck.finetune.recipe import Recipe
from modelcheck.finetune.secrets import is_secret

# What the job says elsewhere: {key of SFTConfig: key of the job}.
SAID_ELSEWHERE = {
    "learning_rate": "train.lr",
    "num_train_epochs": "train.epochs",
    "max_steps": "train.max_steps",
    "per_device_train_batch_size": "train.batch",
    "gradient_accumulation_steps": "train.grad_accum",
    "lr_scheduler_type": "train.schedule",
    "warmup_steps": "train.schedule.warmup",
    "warmup_ratio": "train.schedule.warmup",
    "seed": "train.seeds",
    "max_length": "data.max_length",
    "assistant_only_loss": "train.loss_on",
    "completion_only_loss": "train.loss_on",
    "eval_steps": "train.eval_every",
    "report_to": "train.report_to",
    "output_dir": "the run's own folder",
}


def arguments(recipe: Recipe, *, spans: bool) -> dict[str, Any]:
    """The arguments of SFTConfig that a recipe comes to; with `spans` its rows bring their own mask."""
    train, cuda = recipe.train, torch.cuda.is_available()
    return {
        "output_dir": str(recipe.checkpoints),
        "num_train_epochs": train.epochs,
        "max_steps": train.max_steps or -1,
        "learning_rate": train.lr,
        "per_device_train_batch_size": train.batch,
        "per_device_eval_batch_size": train.batch,
        "gradient_accumulation_steps": train.grad_accum,
        "seed": recipe.seed,
        "data_seed": recipe.seed,
        "max_length": recipe.max_length,
        "assistant_only_loss": train.loss_on == "assistant" and not spans,
        "completion_only_loss": train.loss_on == "completion" and not spans,
        "bf16": recipe.dtype == "bfloat16",
        "fp16": recipe.dtype == "float16" and cuda,
        "use_cpu": not cuda,
        "dataloader_pin_memory": cuda,
        # A loss that is not a number is evidence: by default transformers shows the one before it.
        "logging_nan_inf_filter": False,
        "logging_steps": 1,
        "save_strategy": "steps",
        "save_steps": 0.1,
        "save_total_limit": 2,
        "eval_strategy": "steps" if recipe.eval_rows else "no",
        "eval_steps": train.eval_every if recipe.eval_rows else None,
        "report_to": [name for name in train.report_to if name != "none"] or "none",
        "disable_tqdm": True,
    }


def problems(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """(key of `train.args`, what is wrong with it); the key is empty where it is no single one of them."""
    args = recipe.train.args
    known = {field.name for field in dataclasses.fields(SFTConfig) if field.init}
    named = {key: said for key in args if (said := _by_name(key, known))}
    yield from named.items()
    if not named and (said := _refused(recipe, args)):
        alone = (key for key in args if not _refused(recipe, {k: args[k] for k in args if k != key}))
        yield next(alone, ""), f"SFTConfig does not take it: {said}"


def _by_name(key: str, known: Collection[str]) -> str | None:
    if is_secret(key):
        return "would be written into every checkpoint: set it in train.env"
    if key in SAID_ELSEWHERE:
        return f"is said elsewhere in the job: {SAID_ELSEWHERE[key]}"
    return None if key in known else f"SFTConfig has no such argument{did_you_mean(key, known)}"


def _refused(recipe: Recipe, args: Mapping[str, Any]) -> str | None:
    """What SFTConfig says of arguments that it does not take."""
    try:
        SFTConfig(**{**arguments(recipe, spans=False), **args})
    except Exception as error:  # a wrong value fails wherever it is first used
        return " ".join(str(error).split())
    return None
