"""A job carried out: each step once, each result kept, each verdict read off what is kept."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

from modelcheck.errors import UsageError, did_you_mean
from modelcheck.finetune import preflight, training_rules, verdicts
from modelcheck.finetune.artifact import disagreements
from modelcheck.finetune.data import JobData, load
from modelcheck.finetune.evaluation import Evaluated, Evaluation, StageFailed, base_folder, rows_of
from modelcheck.finetune.gate import check_manifests, compare
from modelcheck.finetune.identity import file_hashes
from modelcheck.finetune.job import Job, Suite
from modelcheck.finetune.label_preview import page
from modelcheck.finetune.outcome import BLOCKED, FAILED, PASSED, WARNED, Outcome, judged
from modelcheck.finetune.plan import plan
from modelcheck.finetune.prompts import Prompts
from modelcheck.finetune.recipe import Recipe
from modelcheck.finetune.report import GateReport
from modelcheck.finetune.stage import Failed, Worker
from modelcheck.finetune.state import State, digest
from modelcheck.finetune.verdict import Result, Role

FOLDER = ".modelcheck"
# What a training worker imports before its first fork.
TRAINER = ("trl", "peft", "datasets")
# Prompts on which adapter, merged and saved model are compared.
COMPARED = 16


class JobRun:
    """A job and the folder of its results. Steps are asked for by the names of `items`; a context manager.

    A step asks for those before it; what an earlier run, or another process, has made is not made again.
    """

    def __init__(self, job: Job, say: Callable[[str], None] = lambda _: None) -> None:
        self.job, self.say = job, say
        self.root = job.file.parent / FOLDER
        self.state = State(self.root / job.name)
        self._stack = ExitStack()
        self._outcomes: dict[str, Outcome] = {}
        self._workers: dict[tuple[Any, ...], Worker] = {}

    def __enter__(self) -> JobRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the workers."""
        self._stack.close()

    @property
    def items(self) -> Mapping[str, Callable[[], Outcome]]:
        """{name: step}, in the order in which they make sense."""
        suites = self.job.suites
        steps: dict[str, Callable[[], Outcome]] = {"preflight": self._preflight, "data": self._data}
        steps |= {f"base-{suite.name}": self._base_step(suite) for suite in suites}
        steps |= {"rehearse": self._rehearse} if self.job.train.rehearse else {}
        steps |= {"train": self._train, "artifact": self._artifact}
        steps |= {suite.item: self._verdict_step(suite) for suite in suites}
        steps |= {"behaviour": self._behaviour}
        return steps | ({"overfit": self._overfit} if self.job.data.mirror else {})

    def outcome(self, item: str) -> Outcome:
        """Carry out a step and all that it needs. What the user can mend is an outcome, never an exception."""
        if item not in self._outcomes:
            blocking = next((o for o in map(self.outcome, self._before(item)) if o.stops), None)
            if blocking:
                cause = blocking.message if blocking.verdict == BLOCKED else f"{blocking.item} failed"
                self._outcomes[item] = Outcome(item, BLOCKED, cause)
            else:
                self._outcomes[item] = self._carried_out(item)
        return self._outcomes[item]

    def _carried_out(self, item: str) -> Outcome:
        try:
            return self.items[item]()
        except UsageError as reason:
            return Outcome(item, FAILED, str(reason))

    def _before(self, item: str) -> list[str]:
        """The steps without which this one makes no sense. Verdicts do not wait for each other."""
        names = list(self.items)
        return names[: min(names.index(item), names.index("artifact") + 1)]

    # Steps.

    def _preflight(self) -> Outcome:
        problems = preflight.problems(self.job, self.root, self._worker(self.job.train), self._worker(self.job.eval))
        return judged("preflight", [], problems, "\n".join(self.job.warnings))

    def _data(self) -> Outcome:
        found = self._audit()
        label_page = self.state.folder / "label_preview.html"
        label_page.write_text(page(found["preview"]["rows"], found["labels"]["end_ids"]), encoding="utf-8")
        findings = training_rules.of_data(self.job, self.base, self._rows("train").parent, found)
        return judged("data", findings, [], f"what carries loss: {label_page}")

    def _base_step(self, suite: Suite) -> Callable[[], Outcome]:
        def step() -> Outcome:
            able = plan(self.base_run(suite).samples(), verdicts.role(suite), suite.name, self._policy)
            figures = {"base": able.base, "mde": able.mde, "items": able.items}
            too_small = FAILED if self.job.gate.require_mde_below_margin else WARNED
            verdict = PASSED if able.reachable else too_small
            message = "" if able.reachable else able.message
            return Outcome(f"base-{suite.name}", verdict, message, able.message, figures=figures)

        return step

    def _rehearse(self) -> Outcome:
        recipe, folder = self._recipe(self.job.train.seeds[0]), self.state.folder / "rehearsal"
        request = self._about_to_train(recipe) | {
            "stage": "rehearse",
            "folder": str(folder),
            "prompts": self._prompt_ids[:2],
            "gen": self.job.plain()["eval"]["gen"],
            "stop_ids": list(self._base_prompts.stop_ids),
        }
        found = self.state.result("rehearse", self._inputs(recipe), lambda: self._asked(self.job.train, request))
        problems = [] if found["saved_is_loaded"] else ["what was saved is not what is loaded from it again"]
        findings = training_rules.of_folder(Path(found["merged"]), self.base)
        shutil.rmtree(folder, ignore_errors=True) if not problems else None
        cost = f"{found['steps']} steps of {found['seconds_per_step']:.2f} s, about {found['seconds'] / 60:.1f} min"
        return judged("rehearse", findings, problems, f"{cost}; {found['peak_memory'] / 1e9:.1f} GB at most")

    def _train(self) -> Outcome:
        findings, details = [], []
        for seed, found in self.trained().items():
            log = (self._recipe(seed).log).read_text(encoding="utf-8").splitlines()
            findings += training_rules.of_training(self.base, found, log)
            details.append(f"seed {seed}: {found['steps']} steps in {found['seconds']['train']:.0f} s")
        return judged("train", findings, [], "\n".join(details))

    def _artifact(self) -> Outcome:
        findings, problems = [], []
        for seed, found in self.trained().items():
            merged = Path(found["merged"])
            request = {
                "stage": "artifact",
                "base": str(self.base),
                "adapter": found["adapter"],
                "merged": str(merged),
                "dtype": self.job.dtype,
                "prompts": self._prompt_ids[:COMPARED],
            }
            inputs = {**request, "weights": file_hashes(merged)}
            compared = self.state.result(
                f"artifact-{seed}",
                inputs,
                lambda r=request: self._asked(self.job.train, r),  # type: ignore[misc]
            )
            gate = self.job.gate
            problems += disagreements(compared, gate.merged_vs_adapter, must_change=gate.weights_must_change)
            findings += training_rules.of_folder(merged, self.base)
        return judged("artifact", list(dict.fromkeys(findings)), problems)

    def _verdict_step(self, suite: Suite) -> Callable[[], Outcome]:
        return lambda: verdicts.of_suite(suite, *self.sides(suite), self._policy, self._explanations())

    def _behaviour(self) -> Outcome:
        sides = [(suite, self.sides(suite)) for suite in self.job.suites]
        return verdicts.of_behaviour(sides, self.job, self._policy, self._explanations())

    def _overfit(self) -> Outcome:
        mirror = next((s for s in self.job.suites if s.data == "mirror"), None)
        held_out = next((s for s in self.job.suites if s.data == "eval"), None)
        if held_out is None:
            raise UsageError("overfit: a mirror is compared with the suite on `eval`, and there is none: add one")
        mirrored = mirror or dataclasses.replace(held_out, name="mirror", data="mirror")
        mirror_side, eval_side = self.sides(mirrored, self.data.mirror)[1], self.sides(held_out)[1]
        return verdicts.of_overfit(mirror_side, eval_side, self.job.gate, self._policy)

    def compared(self, suite: str, role: Role) -> Result:
        """A suite under another demand than the job's. Raises UsageError for a suite that the job does not have."""
        found = next((s for s in self.job.suites if s.name == suite), None)
        if found is None:
            raise UsageError(f"the job has no suite {suite!r}{did_you_mean(suite, [s.name for s in self.job.suites])}")
        base, tuned = self.sides(found)
        return compare(base.samples(), *(t.samples() for t in tuned), role=role, suite=suite, policy=self._policy)

    def report(self) -> GateReport:
        """Every verdict that was asked for, and what may explain it."""
        results = tuple(
            result for name in self.items if name in self._outcomes for result in self._outcomes[name].results
        )
        found = ((o.item, finding) for o in self._outcomes.values() for finding in o.findings)
        return GateReport(self.job.name, results, self._policy, tuple(verdicts.hints_of(found)))

    # What the steps share.

    @cached_property
    def base(self) -> Path:
        """The folder of the base model."""
        return base_folder(self.job)

    @cached_property
    def data(self) -> JobData:
        """Every row of the job."""
        return load(self.job)

    @cached_property
    def _policy(self) -> Any:
        return verdicts.policy(self.job.gate)

    @cached_property
    def _template(self) -> str | None:
        template = self.job.data.template
        return None if template == "tokenizer" else Path(template).read_text(encoding="utf-8")

    def _prompts(self, folder: Path) -> Prompts:
        return self._stack.enter_context(Prompts(folder, self._template, self.job.eval.template_args, self._clock))

    @property
    def _clock(self) -> str:
        """The moment that templates see, the same for both sides and for every run of the job."""
        from datetime import datetime

        now = (
            datetime.now().astimezone().replace(tzinfo=None, hour=12, minute=0, second=0).isoformat(timespec="seconds")
        )
        return str(self.state.result("clock", {}, lambda: {"now": now})["now"])

    @cached_property
    def _base_prompts(self) -> Prompts:
        return self._prompts(self.base)

    @cached_property
    def _prompt_ids(self) -> list[list[int]]:
        """The prompts of the first training rows, as evaluation would put them."""
        return self._base_prompts.ids([row.prompt for row in self.data.train[:COMPARED]])

    def _rows(self, name: str) -> Path:
        """The rows `train`, `eval` (all that training must not have seen) or `trainer_eval` as a file, for others."""
        rows = {"train": self.data.train, "eval": self.data.held_out, "trainer_eval": self.data.eval}
        folder = self.state.folder / "rows"
        folder.mkdir(exist_ok=True)
        for known, items in rows.items():
            path, content = folder / f"{known}.jsonl", "".join(rows_of(items))
            if not path.exists() or path.read_text(encoding="utf-8") != content:
                path.write_text(content, encoding="utf-8")
        return folder / f"{name}.jsonl"

    def _recipe(self, seed: int) -> Recipe:
        untrained = self._trainable_ids()
        key = digest([self.job.plain()["train"], self.job.plain()["data"], str(self.base), seed, untrained])[:12]
        return dataclasses.replace(
            Recipe.of(self.job, self._rows("train"), self.state.folder / f"run-{key}-seed{seed}", seed=seed),
            base=str(self.base),
            eval_rows=self._rows("trainer_eval") if self.data.eval else None,
            untrained=untrained,
        )

    def _trainable_ids(self) -> tuple[int, ...]:
        wanted, prompts = self.job.train.lora.trainable_tokens, self._base_prompts
        if wanted == "none" or self.job.train.method == "full":
            return ()
        if wanted == "untrained":
            return prompts.untrained([row.messages for row in self.data.train[:COMPARED]])
        ids = {token: prompts.tokenizer.id(token) for token in wanted}
        if unknown := [token for token, number in ids.items() if number is None]:
            raise UsageError(f"train.lora.trainable_tokens: {unknown[0]!r} is no token of {self.base}")
        return tuple(sorted(number for number in ids.values() if number is not None))

    def _inputs(self, recipe: Recipe) -> dict[str, Any]:
        """What a training result is made of: by content, wherever it lies."""
        rows = {"train": recipe.rows.read_text(encoding="utf-8")}
        rows |= {"eval": recipe.eval_rows.read_text(encoding="utf-8")} if recipe.eval_rows else {}
        return {"recipe": recipe.plain(), "base": file_hashes(self.base), "rows": digest(rows)}

    def _audit(self) -> dict[str, Any]:
        recipe = self._recipe(self.job.train.seeds[0])
        request = {
            "stage": "audit",
            "recipe": recipe.plain(),
            "out": str(self.state.folder / "audit"),
            "prompts": self._prompt_ids,
            "stop_ids": list(self._base_prompts.stop_ids),
        }
        return self.state.result("audit", self._inputs(recipe), lambda: self._asked(self.job.train, request))

    def _about_to_train(self, recipe: Recipe) -> dict[str, Any]:
        evaluated = self.base_run(self.job.suites[0]).loaded
        return {"recipe": recipe.plain(), "evaluated": dict(evaluated)}

    def trained(self) -> dict[int, dict[str, Any]]:
        """{seed: what the trainer answered}; a run that was ended goes on where it was."""
        return {seed: self._trained(seed) for seed in self.job.train.seeds}

    def _trained(self, seed: int) -> dict[str, Any]:
        recipe = self._recipe(seed)

        def make() -> dict[str, Any]:
            found = self._asked(self.job.train, {"stage": "train", **self._about_to_train(recipe)})
            if found["interrupted"]:
                raise StageFailed(f"training was ended after {found['steps']} steps; run again to go on")
            return found

        return self.state.result(f"train-{seed}", self._inputs(recipe), make)

    def base_run(self, suite: Suite) -> Evaluated:
        """The base's answers to a suite."""
        return self._evaluated(suite, self.data.suites[suite.name], self.base, self._base_prompts)

    def sides(self, suite: Suite, items: Any = None) -> tuple[Evaluated, list[Evaluated]]:
        """Base and tuned answers, one for each seed. Raises NotComparable where they were not asked the same."""
        items = items or self.data.suites[suite.name]
        base = self._evaluated(suite, items, self.base, self._base_prompts)
        tuned = []
        for found in self.trained().values():
            merged = Path(found["merged"])
            run = self._evaluated(suite, items, merged, self._tuned_prompts(merged))
            check_manifests(base.manifest, run.manifest)
            tuned.append(run)
        return base, tuned

    def _tuned_prompts(self, merged: Path) -> Prompts:
        if not hasattr(self, "_of_tuned"):
            self._of_tuned: dict[Path, Prompts] = {}
        if merged not in self._of_tuned:
            self._of_tuned[merged] = self._prompts(merged)
        return self._of_tuned[merged]

    def _evaluated(self, suite: Suite, items: Any, folder: Path, prompts: Prompts) -> Evaluated:
        limit = self.job.eval.limit or len(items)
        evaluation = Evaluation(self.job, suite, items[:limit], folder, self.root / "cache")
        with self.state.lock:
            return evaluation.run(self._worker(self.job.eval), prompts, self.say)

    def _asked(self, stage: Any, request: Mapping[str, Any]) -> dict[str, Any]:
        def hear(event: Mapping[str, Any]) -> None:
            if event["event"] in ("progress", "metric"):
                self.say(f"{request['stage']}: {_progress(event)}")

        answer = self._worker(stage).ask(request, self.job.timeout, hear)
        if isinstance(answer, Failed):
            raise StageFailed(str(answer))
        return dict(answer.value)

    def _worker(self, stage: Any) -> Worker:
        """The worker of a stage: one for each interpreter and environment."""
        key = (stage.python, *sorted(stage.env.items()))
        if key not in self._workers:
            log = self.state.folder / "logs" / f"worker-{len(self._workers)}.log"
            self._workers[key] = self._stack.enter_context(Worker(log, stage.python, stage.env, TRAINER))
        return self._workers[key]

    def _explanations(self) -> Iterator[tuple[str, Any]]:
        """(step, finding) of everything that the steps before the verdicts found."""
        for item in self._before("behaviour"):
            yield from ((item, finding) for finding in self.outcome(item).findings)


def _progress(event: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in event.items() if name != "event")
