"""A job: one base model, its data, a training run, suites that judge it, and the gate. What a job file says, as data.

Defaults are those of the file's schema. Paths are absolute; times are in seconds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelcheck.finetune.chat.endpoint import Endpoint
from modelcheck.finetune.job_rows import Data, Rows
from modelcheck.finetune.plain import plain


@dataclass(frozen=True, slots=True)
class Lora:
    """`alpha` is a number or `sqrt_min_dim`; `targets` is `all-linear` or suffixes of module names.

    `trainable_tokens` is `untrained` (those that the rows use and the base never learned), `none`, or token texts.
    """

    r: int = 32
    alpha: float | str = "sqrt_min_dim"
    dropout: float = 0.0
    targets: str | tuple[str, ...] = "all-linear"
    rslora: bool = True
    trainable_tokens: str | tuple[str, ...] = "untrained"


@dataclass(frozen=True, slots=True)
class Schedule:
    """The learning rate over the run; `warmup` and `anneal_last` are shares of its steps."""

    type: str = "constant_then_linear"
    warmup: float = 0.01
    anneal_last: float = 0.5


@dataclass(frozen=True, slots=True)
class Train:
    """The training run. `eval_every` is a number of steps, or below 1 a share of them, as in transformers.

    `max_steps` ends it earlier than `epochs` would. `merge` is the precision of the merged model: `dtype` (the job's)
    or `16bit`. `args` goes to SFTConfig, `model_args` to `from_pretrained`. `python` is this stage's interpreter, None
    for ours; `env` is laid over our environment.
    """

    backend: str = "trl"
    method: str = "lora"
    loss_on: str = "assistant"
    lora: Lora = Lora()
    epochs: float = 2.0
    max_steps: int | None = None
    lr: float = 1e-4
    batch: int = 4
    grad_accum: int = 8
    schedule: Schedule = Schedule()
    seeds: tuple[int, ...] = (0,)
    eval_every: float = 0.1
    report_to: tuple[str, ...] = ("tensorboard",)
    merge: str = "dtype"
    rehearse: bool = True
    args: Mapping[str, Any] = field(default_factory=dict)
    model_args: Mapping[str, Any] = field(default_factory=dict)
    python: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Generation:
    """Every sampling parameter, pinned. `top_k` of -1 is off; `temperature` of 0 is greedy."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = -1
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    max_tokens: int = 512
    stop: tuple[str, ...] = ()
    seed: int = 0

    @property
    def greedy(self) -> bool:
        """Whether every run gives the same answer."""
        return self.temperature == 0


@dataclass(frozen=True, slots=True)
class Thinking:
    """What is cut out of an answer before it is scored. An unclosed block leaves `empty` or is kept (`keep`)."""

    tags: tuple[tuple[str, str], ...] = (("<think>", "</think>"),)
    unclosed: str = "empty"


@dataclass(frozen=True, slots=True)
class Serve:
    """How a server is started for one model. In `words`, `{model}` is its folder and `{port}` a free port of 127.0.0.1.

    `env` is laid over the environment; `timeout` is how long it may take to be ready.
    """

    words: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 600.0


@dataclass(frozen=True, slots=True)
class OpenAi:
    """A server of the OpenAI kind: one that runs, or one that `serve` starts, whose `base_url` is not known before.

    `{model}` in the endpoint's `model` is the folder of the model that shall answer.
    """

    endpoint: Endpoint
    serve: Serve | None = None

    @property
    def engine(self) -> dict[str, Any]:
        """What the engine, and whoever starts its server, is told."""
        told: dict[str, Any] = {"endpoint": dataclasses.asdict(self.endpoint)}
        if self.serve:
            told["serve"] = {**dataclasses.asdict(self.serve), "key_env": self.endpoint.api_key_env}
        return told

    @property
    def computing(self) -> dict[str, Any]:
        """What of it decides what is computed, and not only how fast."""
        endpoint = {name: getattr(self.endpoint, name) for name in ("base_url", "model", "extra_body")}
        return {**endpoint, "serve": [*self.serve.words] if self.serve else None}


@dataclass(frozen=True, slots=True)
class Vllm:
    """Arguments of vLLM's `LLM`. What is None is left to vLLM; `args` are all others."""

    gpu_memory_utilization: float | None = None
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    enforce_eager: bool = False
    enable_prefix_caching: bool = True
    tensor_parallel_size: int = 1
    args: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Eval:
    """How both models answer. `batch_size` is `auto` or a number; `limit` of 0 is every item.

    `grammar` is the text of the grammar that answers are held to; `grammar_backend` is who does so with transformers.
    """

    backend: str = "transformers"
    gen: Generation = Generation()
    template_args: Mapping[str, Any] = field(default_factory=dict)
    repeats: int = 3
    strip_thinking: Thinking | None = Thinking()
    batch_size: int | str = "auto"
    limit: int = 0
    grammar: str | None = None
    grammar_backend: str = "transformers-cfg"
    openai: OpenAi | None = None
    vllm: Vllm = Vllm()
    python: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)

    def served_by(self, program: str) -> bool:
        """Whether a server answers that the job starts with a command of words that name the program."""
        serve = self.openai.serve if self.openai and self.backend == "openai" else None
        return serve is not None and any(program in word for word in serve.words)

    @property
    def engine(self) -> dict[str, Any]:
        """What an engine is told besides the model: its name, and its options."""
        held = {"grammar": self.grammar} if self.grammar else {}
        if self.openai and self.backend == "openai":
            return {"backend": self.backend, "template_args": dict(self.template_args), **self.openai.engine, **held}
        if self.backend == "vllm":
            return {"backend": self.backend, **dataclasses.asdict(self.vllm), **held}
        by = {"grammar_backend": self.grammar_backend} if self.grammar else {}
        return {"backend": self.backend, "batch_size": self.batch_size, **held, **by}

    @property
    def computing(self) -> dict[str, Any]:
        """What of the engine decides what is computed, and not only where and how fast."""
        if self.openai and self.backend == "openai":
            return {"backend": self.backend, **self.openai.computing}
        if self.backend == "vllm":
            return {
                "backend": self.backend,
                "max_model_len": self.vllm.max_model_len,
                "args": dict(self.vllm.args),
            }
        return {"backend": self.backend}

    @property
    def runs(self) -> int:
        """How often each item is answered: repeating a greedy answer says nothing."""
        return 1 if self.gen.greedy else self.repeats


@dataclass(frozen=True, slots=True)
class Scorer:
    """`type` and the options of that type, checked against `modelcheck.finetune.schema.SCORERS`."""

    type: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, Any]:
        """The scorer's table as `modelcheck.finetune.scorers.scorer` takes it."""
        return {"type": self.type, **{k: [*v] if isinstance(v, tuple) else v for k, v in self.options.items()}}


@dataclass(frozen=True, slots=True)
class Suite:
    """Items and how they are judged. `data` is `eval`, `mirror`, rows of its own or the tasks of an `lm_eval` scorer.

    A `target` has `min_gain`, a `guard` has `margin`, a `floor` has `min` or `max` (a bound on the tuned model alone).
    """

    name: str
    role: str
    data: str | Rows
    scorer: Scorer
    primary: bool = False
    min_gain: float | None = None
    margin: float | None = None
    min: float | None = None
    max: float | None = None

    @property
    def item(self) -> str:
        """The name of its verdict among the test items: `guard-copy`."""
        return f"{self.role}-{self.name}"


@dataclass(frozen=True, slots=True)
class Arm:
    """Another way to the skill than training, put to the same items as the base; what it names can be combined.

    `system` is the text of a system prompt, or the file that holds it. `shots` training rows, drawn by `seed`, stand as
    examples before every question. `context` is a column, or a template of columns, whose text stands before the
    question. `model`, a folder's absolute path or a hub id with its `revision`, answers in place of the base, or the
    one model behind the server `openai`.
    """

    name: str
    system: Path | str | None = None
    shots: int = 0
    seed: int = 0
    context: str | None = None
    model: str | None = None
    revision: str | None = None
    openai: OpenAi | None = None

    @property
    def item(self) -> str:
        """Its name among the test items: `arm-few-shot`."""
        return f"arm-{self.name}"


@dataclass(frozen=True, slots=True)
class Agreement:
    """How near merged, reloaded and adapter model must be; `max_logit_diff` is a number or `auto` (by dtype)."""

    max_logit_diff: float | str = "auto"
    min_greedy_agreement: float = 0.99


@dataclass(frozen=True, slots=True)
class Gate:
    """When the tuned model may be released. `cluster` names the column that groups items, if rows do not say.

    `must_beat_arms` is what becomes of a tuned model that is not surely better than every arm: `warn` or `fail`.
    """

    alpha: float = 0.05
    power: float = 0.8
    cluster: str | None = None
    on_inconclusive: str | None = None
    require_mde_below_margin: bool = True
    stop_rate_min: float = 0.98
    truncation_max: float = 0.02
    length_ratio: tuple[float, float] = (0.5, 2.0)
    max_overfit_gap: float = 0.15
    merged_vs_adapter: Agreement = Agreement()
    weights_must_change: bool = True
    baseline: str | None = None
    must_beat_arms: str = "warn"


@dataclass(frozen=True, slots=True)
class Job:
    """One `[job.NAME]` of `file`. `base` is a folder's absolute path or a hub id; `timeout` is for each stage.

    `warnings` is what the file's reader found unwise but not wrong, `moving` are the models whose name may stand for
    other weights tomorrow, both in words. `lines` is {key below the job's table: its line}.
    """

    name: str
    file: Path
    line: int
    base: str
    data: Data
    suites: tuple[Suite, ...]
    arms: tuple[Arm, ...] = ()
    train: Train = Train()
    eval: Eval = Eval()
    gate: Gate = Gate()
    revision: str | None = None
    dtype: str = "bfloat16"
    isolation: str = "subprocess"
    timeout: float = 7200.0
    warnings: tuple[str, ...] = ()
    moving: tuple[str, ...] = ()
    lines: Mapping[str, int] = field(default_factory=dict, compare=False, repr=False)

    def at(self, key: str) -> str:
        """Where the file says something, for messages: `modelcheck.toml:12: job.rugby.train.args`."""
        return f"{self.file}:{self._line(key)}: job.{self.name}.{key}"

    def place(self, suite: Suite) -> str:
        """Where a suite's scorer stands, as messages about it begin."""
        number = next((i for i, own in enumerate(self.suites, 1) if own.name == suite.name), 0)
        return f"{self.file}:{self._line(f'suite[{number}].scorer')}: suite {suite.name}"

    def _line(self, key: str) -> int:
        while key and key not in self.lines:
            key = key.rpartition(".")[0]
        return self.lines.get(key, self.line)

    def plain(self) -> dict[str, Any]:
        """The job as JSON can hold it: what workers are told and what hashes are taken of."""
        made: dict[str, Any] = plain(dataclasses.asdict(self))
        return made
