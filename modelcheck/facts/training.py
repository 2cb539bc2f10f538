"""What an audit or a run of the real trainer left behind: training_evidence.json, one fact for each of its parts.

`modelcheck.finetune` writes the file beside a job's results; any trainer may. A part that is absent does not apply.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelcheck.fact import NotApplicable, fact
from modelcheck.names import TRAINING

from .files import Files, JsonObject, expect


@dataclass(frozen=True, slots=True)
class Labels:
    """What the loss is taken on, counted in the batches of the trainer's own data loader.

    `rows` are in the data, `audited` of them were read, `dropped` the trainer left out. `end_tokens` are those at which
    generation stops, `ends_supervised` how often one carries loss. `prompt_tokens` are outside every answer, in the
    `prompt_rows` rows where that can be told. Of `prompts_compared` rows, `prompts_other` do not begin with the prompt
    that evaluation gives, and in `prompts_short` the loss begins only behind its end.
    """

    loss_on: str
    rows: int
    audited: int
    dropped: int
    tokens: int
    supervised: int
    end_tokens: tuple[str, ...]
    ends_supervised: int
    rows_without_end: int
    rows_without_loss: int
    prompt_rows: int
    prompt_tokens: int
    prompt_supervised: int
    prompts_compared: int
    prompts_other: tuple[int, ...]
    prompts_short: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Trainability:
    """What learns. `kinds`: {kind: {total, trained, reached}} in parameters; `frozen` and `unasked` name modules."""

    method: str
    kinds: Mapping[str, Mapping[str, int]]
    frozen: tuple[str, ...]
    unasked: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TrainingLog:
    """What every logged step adds up to.

    `steps_expected` follow from the rows, `steps_planned` are the trainer's own. `non_finite` is the first step with a
    loss or gradient norm that is no number, {step, what, value, steps}; `lr_wrong` the step whose learning rate is
    furthest from what was asked, {step, asked, used, steps}; `evaluations` {count, best_step, best_loss, last_step,
    last_loss}; `loss` is that of the first and of the last steps, {first, last}.
    """

    steps_expected: int
    steps_planned: int
    steps_done: int
    rows: int
    warmup: float
    warmup_steps: int
    non_finite: JsonObject | None
    lr_asked: float
    lr_wrong: JsonObject | None
    evaluations: JsonObject | None
    loss: JsonObject | None


@dataclass(frozen=True, slots=True)
class Bases:
    """In what the base that was trained differs from the one that was evaluated, each difference in words."""

    differences: tuple[str, ...]


@fact
def training(files: Files) -> JsonObject:
    """training_evidence.json."""
    files.require(TRAINING, "there is no training_evidence.json")
    return files.json_object(TRAINING)


@fact
def label_audit(training: JsonObject) -> Labels:
    """The labels of the trainer."""
    part = _part(training, "labels")
    numbers = {
        name: _number(part, "labels", name)
        for name in ("rows", "audited", "dropped", "tokens", "supervised", "ends_supervised", "rows_without_end",
                     "rows_without_loss", "prompt_rows", "prompt_tokens", "prompt_supervised", "prompts_compared")
    }  # fmt: skip
    return Labels(
        loss_on=expect(TRAINING, "/labels/loss_on", part.get("loss_on", "assistant"), str),
        end_tokens=_list(part, "labels", "end_tokens", str),
        prompts_other=_list(part, "labels", "prompts_other", int),
        prompts_short=_list(part, "labels", "prompts_short", int),
        **numbers,
    )


@fact
def trainability(training: JsonObject) -> Trainability:
    """What of the model learns."""
    part = _part(training, "trainability")
    kinds = expect(TRAINING, "/trainability/kinds", part.get("kinds", {}), dict)
    for kind, counts in kinds.items():
        for name, value in expect(TRAINING, f"/trainability/kinds/{kind}", counts, dict).items():
            expect(TRAINING, f"/trainability/kinds/{kind}/{name}", value, int)
    return Trainability(
        expect(TRAINING, "/trainability/method", part.get("method", ""), str),
        kinds,
        _list(part, "trainability", "frozen", str),
        _list(part, "trainability", "unasked", str),
    )


@fact
def training_log(training: JsonObject) -> TrainingLog:
    """What the log of the run says."""
    part = _part(training, "log")
    whole = {
        name: _number(part, "log", name)
        for name in ("steps_expected", "steps_planned", "steps_done", "rows", "warmup_steps")
    }
    return TrainingLog(
        warmup=_number(part, "log", "warmup", int, float),
        lr_asked=_number(part, "log", "lr_asked", int, float),
        non_finite=_object(part, "non_finite", {"step": (int,), "what": (str,), "value": (str,), "steps": (int,)}),
        lr_wrong=_object(
            part, "lr_wrong", {"step": (int,), "asked": (int, float), "used": (int, float), "steps": (int,)}
        ),
        loss=_object(part, "loss", {"first": (int, float), "last": (int, float)}),
        evaluations=_object(
            part,
            "evaluations",
            {
                "count": (int,),
                "best_step": (int,),
                "best_loss": (int, float),
                "last_step": (int,),
                "last_loss": (int, float),
            },
        ),
        **whole,
    )


@fact
def training_bases(training: JsonObject) -> Bases:
    """Whether one base was evaluated and trained."""
    return Bases(_list(_part(training, "bases"), "bases", "differences", str))


def _part(training: JsonObject, name: str) -> JsonObject:
    if training.get(name) is None:
        raise NotApplicable(f"training_evidence.json says nothing of {name}")
    part: JsonObject = expect(TRAINING, f"/{name}", training[name], dict)
    return part


def _number(part: JsonObject, of: str, name: str, *types: type) -> Any:
    return expect(TRAINING, f"/{of}/{name}", part.get(name) or 0, *(types or (int,)))


def _list(part: JsonObject, of: str, name: str, kind: type) -> tuple[Any, ...]:
    items = expect(TRAINING, f"/{of}/{name}", part.get(name) or [], list)
    return tuple(expect(TRAINING, f"/{of}/{name}/{i}", item, kind) for i, item in enumerate(items))


def _object(part: JsonObject, name: str, shape: Mapping[str, tuple[type, ...]]) -> JsonObject | None:
    if part.get(name) is None:
        return None
    found = expect(TRAINING, f"/log/{name}", part[name], dict)
    return {key: expect(TRAINING, f"/log/{name}/{key}", found.get(key), *types) for key, types in shape.items()}
