"""Every step into log.jsonl as it happens, and an orderly stop when the stage is told to end."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Mapping
from typing import Any

from transformers import TrainerCallback

from modelcheck.finetune.protocol import Emit
from modelcheck.finetune.recipe import Recipe


class StepLog(TrainerCallback):
    """Writes what was asked, then for each step its loss, gradient norm and the rates that the optimizer really used.

    A resumed run writes on in the same file; of two lines for one step, the later counts.
    """

    def __init__(self, recipe: Recipe, asked: Mapping[str, Any], emit: Emit) -> None:
        self._path, self._asked, self._emit = recipe.log, dict(asked), emit
        self._rates: list[float] = []
        self._began = time.monotonic()
        self.stopped = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Say what was asked for, and listen for the order to stop."""
        signal.signal(signal.SIGTERM, self._stop)
        self._write(asked={**self._asked, "steps": state.max_steps})

    def _stop(self, *_: Any) -> None:
        self.stopped = True

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The rates with which the next step is taken."""
        self._rates = [float(group["lr"]) for group in kwargs["optimizer"].param_groups]

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """One line for a step or an evaluation."""
        logs = kwargs["logs"]
        if "loss" in logs:
            line = {"step": state.global_step, "loss": logs["loss"], "grad_norm": logs.get("grad_norm")}
            self._write(**line, lr=self._rates)
            seconds = round(time.monotonic() - self._began, 2)
            self._emit("progress", step=state.global_step, total=state.max_steps, loss=logs["loss"], seconds=seconds)
        elif "eval_loss" in logs:
            self._write(step=state.global_step, eval_loss=logs["eval_loss"])

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Save and end here, if told to stop."""
        if self.stopped:
            control.should_save = control.should_training_stop = True
        return control

    def _write(self, **line: Any) -> None:
        with self._path.open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
