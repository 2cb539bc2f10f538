"""TRL's SFTTrainer as a recipe describes it: the one object that the audits read and the training runs."""

from __future__ import annotations

import math
import resource
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from modelcheck.finetune.identity import differences, identity, weights_digest
from modelcheck.finetune.protocol import Emit, StageError
from modelcheck.finetune.recipe import Recipe
from modelcheck.finetune.schedule import factor, warmup_steps

from .arguments import arguments, problems
from .log import StepLog
from .lora import lora_config
from .row_losses import row_losses
from .rows import Row, by_spans, dataset, read_rows
from .trainability import trainability


class Trainer(SFTTrainer):
    """SFTTrainer under the recipe's own schedule, whatever transformers would put in its place."""

    recipe: Recipe

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The learning rate of `modelcheck.finetune.schedule` over that many steps."""
        schedule = self.recipe.train.schedule
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
            cast("Any", optimizer or self.optimizer), lambda step: factor(schedule, step, num_training_steps)
        )
        self._created_lr_scheduler = True
        return self.lr_scheduler


def load_tokenizer(recipe: Recipe) -> Any:
    """The base's tokenizer, with the recipe's template on it."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(recipe.base, revision=recipe.revision)
    except (OSError, ValueError) as error:
        raise StageError(f"the tokenizer of {recipe.base} cannot be loaded: {error}") from error
    if recipe.template is not None:
        tokenizer.chat_template = recipe.template
    return tokenizer


def load_model(recipe: Recipe) -> Any:
    """The base as it is trained: in the job's dtype under an adapter, in float32 where its own weights move."""
    dtype = recipe.dtype if recipe.adapts else "float32"
    options = {"dtype": dtype, **recipe.train.model_args}
    try:
        return AutoModelForCausalLM.from_pretrained(recipe.base, revision=recipe.revision, **options)
    except (OSError, ValueError) as error:
        raise StageError(f"{recipe.base} cannot be loaded for training: {error}") from error
    except ImportError as error:  # an option asks for what is not installed: its own words say what
        asked = ", ".join(f"{key} = {value!r}" for key, value in recipe.train.model_args.items())
        raise StageError(f"{recipe.base} cannot be loaded with train.model_args {asked}: {error}") from error


def one_layer(recipe: Recipe) -> Any:
    """A model of the base's class with one layer; its weights are whatever memory holds: nobody computes with them."""
    config = AutoConfig.from_pretrained(recipe.base, revision=recipe.revision)
    text = config.get_text_config()
    layers = text.num_hidden_layers
    for name, value in text.to_dict().items():
        if isinstance(value, list) and len(value) == layers > 1:  # layer_types and the like
            setattr(text, name, value[:1])
    text.num_hidden_layers = 1
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    model.to_empty(device="cpu").tie_weights()
    return model


def build(recipe: Recipe, model: Any, tokenizer: Any, rows: Sequence[Row], **more: Any) -> Any:
    """The job's trainer around a model. `more` is laid over the arguments of SFTConfig."""
    train = recipe.train
    if wrong := [f"train.args{key and f'.{key}'}: {said}" for key, said in problems(recipe)]:
        raise StageError("\n".join(wrong))
    trainer: Any = Trainer(
        model=model,
        args=SFTConfig(**{**arguments(recipe, spans=by_spans(recipe, tokenizer)), **train.args, **more}),
        train_dataset=dataset(rows, recipe, tokenizer),
        eval_dataset=dataset(read_rows(recipe.eval_rows), recipe, tokenizer) if recipe.eval_rows else None,
        processing_class=tokenizer,
        peft_config=lora_config(recipe, AutoConfig.from_pretrained(recipe.base, revision=recipe.revision))
        if recipe.adapts
        else None,
    )
    trainer.recipe = recipe
    head = trainer.model.get_output_embeddings()
    if not hasattr(head, "bias"):
        # PEFT 0.21 wraps a tied head for trainable tokens and passes on its weight alone; TRL 1.16 asks for both.
        head.bias = getattr(head.original_module, "bias", None)
    return trainer


def steps_of(recipe: Recipe, rows: int, processes: int = 1) -> int:
    """The optimizer steps that so many rows make."""
    train = recipe.train
    batches = math.ceil(math.ceil(rows / processes) / train.batch)
    steps = math.ceil(train.epochs * max(1, math.ceil(batches / train.grad_accum)))
    return min(steps, train.max_steps) if train.max_steps else steps


def train(recipe: Recipe, emit: Emit, evaluated: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Run the recipe, or go on with it where a run of it was ended, and save adapter and merged model.

    `evaluated` is the identity of the base that was evaluated. Raises StageError, before the first step, where another
    base was loaded.
    """
    began = time.monotonic()
    rows, tokenizer = read_rows(recipe.rows), load_tokenizer(recipe)
    model = load_model(recipe)
    loaded = identity(model, tokenizer)
    emit("loaded", **loaded)
    if evaluated and (other := differences(evaluated, loaded)):
        raise StageError(f"the trainer loaded another base than was evaluated: {'; '.join(other)}")
    use_cache = model.config.use_cache
    trainer = build(recipe, model, tokenizer, rows)
    recipe.out.mkdir(parents=True, exist_ok=True)
    log = StepLog(recipe, _asked(recipe, len(rows), trainer), emit)
    trainer.add_callback(log)
    parts = trainability(trainer.model, recipe)
    ready = time.monotonic()
    trainer.train(resume_from_checkpoint=last_checkpoint(recipe.checkpoints))
    trained = time.monotonic()
    seconds = {"prepare": round(ready - began, 2), "train": round(trained - ready, 2)}
    result: dict[str, Any] = {
        "loaded": loaded,
        "trainability": parts,
        "steps": trainer.state.global_step,
        "interrupted": log.stopped,
        "peak_memory": peak_memory(),
        "seconds": seconds,
    }
    if not log.stopped:
        result["row_losses"] = row_losses(trainer)
        trainer.model.config.use_cache = use_cache
        result |= save(recipe, trainer.accelerator.unwrap_model(trainer.model), tokenizer)
        seconds["save"] = round(time.monotonic() - trained, 2)
    return result


def _asked(recipe: Recipe, rows: int, trainer: Any) -> dict[str, Any]:
    steps, schedule = steps_of(recipe, rows, trainer.args.world_size), recipe.train.schedule
    return {
        "rows": rows,
        "steps_expected": steps,
        "lr": recipe.train.lr,
        "schedule": {"type": schedule.type, "warmup": schedule.warmup, "anneal_last": schedule.anneal_last},
        "warmup_steps": warmup_steps(schedule, steps),
    }


def save(recipe: Recipe, model: Any, tokenizer: Any) -> dict[str, Any]:
    """Adapter and merged model into their folders, whole or not at all."""
    if recipe.adapts:
        _replace(recipe.adapter, model.save_pretrained)
        model = model.merge_and_unload()
    whole = recipe.dtype if recipe.train.merge == "dtype" else _half(recipe.dtype)
    model.to(getattr(torch, whole))
    digest = weights_digest(model)

    def write(folder: Path) -> None:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    _replace(recipe.merged, write)
    adapter = str(recipe.adapter) if recipe.adapts else None
    return {"adapter": adapter, "merged": str(recipe.merged), "merged_weights": digest}


def _half(dtype: str) -> str:
    return "float16" if dtype == "float16" else "bfloat16"


def _replace(folder: Path, write: Any) -> None:
    """A folder that is there only once it is whole."""
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    write(partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def last_checkpoint(folder: Path) -> str | None:
    """The latest checkpoint that was written to its end: the trainer's state comes last."""
    whole = [path.parent for path in folder.glob("checkpoint-*/trainer_state.json") if path.stat().st_size]
    return str(max(whole, key=lambda path: int(path.name.rpartition("-")[2]))) if whole else None


def peak_memory() -> int:
    """Bytes that this process held at most: on the accelerator, or in main memory where there is none."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_reserved())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
