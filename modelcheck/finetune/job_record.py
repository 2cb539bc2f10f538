"""Everything that the report of a job tells, gathered from its outcomes and from what its steps have kept."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelcheck.errors import UsageError
from modelcheck.finetune.log_evidence import parsed
from modelcheck.finetune.outcome import BLOCKED, Outcome
from modelcheck.finetune.report import GateReport
from modelcheck.finetune.work import Work

# The name of the figure by which the step `data` tells that the labels were audited.
AUDITED = "audited rows"


@dataclass(frozen=True, slots=True)
class Losses:
    """What a run logged, by step: the training loss, and the loss on the rows that it was not trained on."""

    seed: int
    train: Mapping[int, float]
    evaluation: Mapping[int, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """A job as its report tells it. What a step did not come to is empty.

    steps      the names of all steps; `outcomes` are those of the steps that this run came to
    file       the name of the job file, and `folder` where it lies
    seeds      those of the training runs, in the order of an item's answers
    losses     one for each training run that began
    labels     the label audit's counts, and `preview` its rows
    loaded     {what: identity} of each model that a stage loaded
    environment  versions by stage, platform and commit
    settings   the job, every default filled in, secrets left out
    """

    made: GateReport
    steps: Sequence[str]
    outcomes: Sequence[Outcome]
    file: str
    folder: str = ""
    seeds: Sequence[int] = (0,)
    losses: Sequence[Losses] = ()
    labels: Mapping[str, Any] = field(default_factory=dict)
    preview: Sequence[Mapping[str, Any]] = ()
    loaded: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def outcome(self, step: str) -> Outcome | None:
        """What a step came to."""
        return next((outcome for outcome in self.outcomes if outcome.item == step), None)


def gather(
    work: Work, made: GateReport, steps: Sequence[str], outcomes: Mapping[str, Outcome], settings: Mapping[str, Any]
) -> JobRecord:
    """The record of a run. Nothing is evaluated or trained for it: only what there is already is read."""
    known = [outcomes[step] for step in steps if step in outcomes]
    data = outcomes.get("data")
    audit = work.state.kept("audit") if data and AUDITED in data.figures else {}
    return JobRecord(
        made=made,
        steps=steps,
        outcomes=known,
        file=work.job.file.name,
        folder=str(work.job.file.parent),
        seeds=work.job.train.seeds,
        losses=_losses(work) if _came_to("train", outcomes) else (),
        labels=audit.get("labels", {}),
        preview=audit.get("preview", {}).get("rows", ()),
        loaded=_loaded(work, made),
        environment=_json(work.state.folder / "env.json") if _came_to("preflight", outcomes) else {},
        settings=settings,
    )


def losses(seed: int, lines: Sequence[str]) -> Losses:
    """What log.jsonl says; of two lines for one step the later counts, as a resumed run leaves them."""
    found = [line for line in map(parsed, lines) if "step" in line]
    train = {line["step"]: line["loss"] for line in found if "loss" in line}
    return Losses(seed, train, {line["step"]: line["eval_loss"] for line in found if "eval_loss" in line})


def _came_to(step: str, outcomes: Mapping[str, Outcome]) -> bool:
    return step in outcomes and outcomes[step].verdict != BLOCKED


def _losses(work: Work) -> list[Losses]:
    try:
        logs = {seed: work.recipe(seed).log for seed in work.job.train.seeds}
    except UsageError:
        return []  # the step itself has told why there is no recipe
    read = {seed: log.read_text(encoding="utf-8") for seed, log in logs.items() if log.is_file()}
    return [losses(seed, text.splitlines()) for seed, text in read.items()]


def _loaded(work: Work, made: GateReport) -> dict[str, Mapping[str, Any]]:
    compared = {result.suite for result in made.results}
    suite = next((suite for suite in work.job.suites if suite.name in compared), None)
    if suite is None:
        return {}
    trained = work.trained()
    found = {"base, evaluated": work.base_run(suite).loaded}
    bases = [answer["loaded"] for _, answer in trained.values()]
    if all(loaded == bases[0] for loaded in bases):
        found["base, trained"] = bases[0]
    else:
        found |= {f"base, trained (seed {seed})": loaded for seed, loaded in zip(trained, bases, strict=True)}
    runs = zip(trained, work.tuned_runs(suite), strict=True)
    return found | {f"tuned, evaluated (seed {seed})": run.loaded for seed, run in runs}


def _json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
