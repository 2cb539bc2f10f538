"""What a training worker is told: one run of a job, as JSON can carry it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .job import Job, Lora, Schedule, Train


@dataclass(frozen=True, slots=True)
class Recipe:
    """One training run. `rows` is a JSONL file of `{"messages": [...], "tools": [...]?}` or `{"text": ...}`.

    `template` is the text of a chat template in place of the tokenizer's; `untrained` are ids whose embedding rows are
    to be trained; `out` is the folder of everything that the run writes.
    """

    base: str
    rows: Path
    out: Path
    train: Train
    dtype: str = "bfloat16"
    revision: str | None = None
    eval_rows: Path | None = None
    template: str | None = None
    template_args: Mapping[str, Any] = field(default_factory=dict)
    max_length: int = 2048
    seed: int = 0
    untrained: tuple[int, ...] = ()

    @classmethod
    def of(cls, job: Job, rows: Path, out: Path, **more: Any) -> Recipe:
        """The recipe of a job; `more` are the fields that the job does not have: seed, eval_rows, untrained."""
        template = job.data.template
        return cls(
            base=job.base,
            rows=rows,
            out=out,
            train=job.train,
            dtype=job.dtype,
            revision=job.revision,
            template=None if template == "tokenizer" else Path(template).read_text(encoding="utf-8"),
            template_args=job.eval.template_args,
            max_length=job.data.max_length,
            **more,
        )

    def plain(self) -> dict[str, Any]:
        """The recipe as JSON can hold it."""
        made = dataclasses.asdict(self)
        return made | {name: str(made[name]) for name in ("rows", "out", "eval_rows") if made[name] is not None}

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Recipe:
        """The recipe that `plain` wrote."""
        train = dict(plain["train"])
        train["lora"] = Lora(**{name: _tuple(value) for name, value in train["lora"].items()})
        train["schedule"] = Schedule(**train["schedule"])
        train = {name: _tuple(value) for name, value in train.items()}
        paths = {name: Path(plain[name]) for name in ("rows", "out", "eval_rows") if plain[name] is not None}
        return cls(**{**plain, **paths, "train": Train(**train), "untrained": tuple(plain["untrained"])})

    @property
    def adapts(self) -> bool:
        """Whether an adapter is trained, and the base's own weights stand still."""
        return self.train.method != "full"

    @property
    def log(self) -> Path:
        """Every step, as it was logged."""
        return self.out / "log.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Where the trainer keeps what it resumes from."""
        return self.out / "checkpoints"

    @property
    def adapter(self) -> Path:
        """The trained adapter."""
        return self.out / "adapter"

    @property
    def merged(self) -> Path:
        """The model that is evaluated."""
        return self.out / "merged"


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
