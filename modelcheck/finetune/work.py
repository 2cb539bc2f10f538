"""What the steps of a job share: its rows, prompts and recipes, and whatever its workers have made, each thing once."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

from modelcheck.dataset.example import Example
from modelcheck.errors import UsageError
from modelcheck.finetune import arm_endpoint, arms
from modelcheck.finetune.aa import disturbed
from modelcheck.finetune.data import JobData, load
from modelcheck.finetune.evaluation import Evaluated, Evaluation, base_folder, prompt_of, request, rows_of
from modelcheck.finetune.identity import content
from modelcheck.finetune.job import Arm, Job, Suite
from modelcheck.finetune.pairing import check_manifests, check_servers
from modelcheck.finetune.prompts import Prompts
from modelcheck.finetune.recipe import Recipe
from modelcheck.finetune.refusals import StageFailed, refusal
from modelcheck.finetune.stage import Event, Failed, Worker
from modelcheck.finetune.state import State, digest
from modelcheck.finetune.workers import Place, Workers

FOLDER = ".modelcheck"
# Prompts on which adapter, merged and saved model are compared, and rows are held against what evaluation asks.
COMPARED = 8
REHEARSED = 2
# Training rows that are rendered in search of tokens that the base never learned.
RENDERED = 200
Say = Callable[[str], None]


class Work:
    """A job and the folder of its results. What an earlier run, or another process, has made is not made again.

    `say` gets where it is, a line that is written over; `tell` gets lines that stay.
    """

    def __init__(self, job: Job, workers: Workers, say: Say, tell: Say = lambda _: None) -> None:
        self.job, self._workers, self._say, self._tell = job, workers, say, tell
        self.root = job.file.parent / FOLDER
        self.cache = self.root / "cache"
        self.state = State(self.root / job.name, tell)
        self._stack = ExitStack()
        self._prompts_of: dict[tuple[Path, bool], Prompts] = {}
        self._recipes: dict[int, Recipe] = {}
        self._answered: dict[tuple[str, Path | None, str | None], Evaluated] = {}

    def close(self) -> None:
        """End what renders prompts."""
        self._stack.close()

    # What the job begins with.

    @cached_property
    def base(self) -> Path:
        """The folder of the base model."""
        return base_folder(self.job)

    @cached_property
    def data(self) -> JobData:
        """Every row of the job."""
        return load(self.job)

    @cached_property
    def _rows(self) -> Path:
        """The folder of the rows as the trainer reads them: `train.jsonl`, and `trainer_eval.jsonl` for its loss."""
        folder = self.state.folder / "rows"
        folder.mkdir(parents=True, exist_ok=True)
        for name, items in {"train": self.data.train, "trainer_eval": self.data.eval}.items():
            path, text = folder / f"{name}.jsonl", "".join(rows_of(items))
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                path.write_text(text, encoding="utf-8")
        return folder

    def prompts(self, folder: Path, *, foreign: bool = False) -> Prompts:
        """The prompts of a model by the template and the arguments of the job; a foreign one has its own template."""
        if (folder, foreign) not in self._prompts_of:
            template = "tokenizer" if foreign else self.job.data.template
            text = None if template == "tokenizer" else Path(template).read_text(encoding="utf-8")
            made = Prompts(folder, text, self.job.eval.template_args, self._clock)
            self._prompts_of[folder, foreign] = self._stack.enter_context(made)
        return self._prompts_of[folder, foreign]

    @property
    def _clock(self) -> str:
        """The moment that templates see, the same for both sides and for every run of the job."""
        from datetime import datetime

        noon = datetime.now().astimezone().replace(tzinfo=None, hour=12, minute=0, second=0)
        return str(self.state.result("clock", {}, lambda: {"now": noon.isoformat(timespec="seconds")})["now"])

    @cached_property
    def prompt_ids(self) -> list[list[int]]:
        """The prompts of the first training rows, as evaluation would put them."""
        return self.prompts(self.base).ids([row.prompt for row in self.data.train[:COMPARED]])

    def recipe(self, seed: int) -> Recipe:
        """What the trainer is told. Its folder is named by what the run is made of."""
        if seed not in self._recipes:
            self._recipes[seed] = self._recipe(seed)
        return self._recipes[seed]

    def _recipe(self, seed: int) -> Recipe:
        plain = Recipe.of(self.job, self._rows / "train.jsonl", self.state.folder, seed=seed)
        made = dataclasses.replace(
            plain,
            base=str(self.base),
            eval_rows=self._rows / "trainer_eval.jsonl" if self.data.eval else None,
            untrained=self._trainable_ids(),
            # Another seed beside it, or no rehearsal before it, makes no other run.
            train=dataclasses.replace(plain.train, seeds=(seed,), rehearse=True),
        )
        return dataclasses.replace(made, out=self.state.folder / f"run-{digest(self.made_of(made))[:12]}-seed{seed}")

    def _trainable_ids(self) -> tuple[int, ...]:
        wanted, prompts = self.job.train.lora.trainable_tokens, self.prompts(self.base)
        if wanted == "none" or self.job.train.method == "full":
            return ()
        if wanted == "untrained":
            return prompts.untrained([row.messages for row in self.data.train[:RENDERED]])
        ids = {token: prompts.tokenizer.id(token) for token in wanted}
        if unknown := [token for token, number in ids.items() if number is None]:
            raise UsageError(f"train.lora.trainable_tokens: {unknown[0]!r} is no token of {self.base}")
        return tuple(sorted(number for number in ids.values() if number is not None))

    def made_of(self, recipe: Recipe) -> dict[str, Any]:
        """What a training result is made of: by content, wherever it lies."""
        rows = [path.read_text(encoding="utf-8") for path in (recipe.rows, recipe.eval_rows) if path]
        told = {k: v for k, v in recipe.plain().items() if k not in ("base", "rows", "eval_rows", "out")}
        return {"recipe": told, "base": content(self.base), "rows": digest(rows)}

    # What the workers make.

    def worker(self, place: Place) -> Worker:
        """The worker of a stage."""
        return self._workers.of(place, self.root / "logs")

    def expect(self, *workers: Worker) -> None:
        """Let workers import while files are read: a job that has made nothing yet will ask all of them."""
        if self.state.empty:
            self._workers.expect(*workers)

    def ask(self, place: Place, request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer of a stage. Raises StageFailed where there is none."""

        def hear(event: Mapping[str, Any]) -> None:
            if event["event"] == "progress":
                told = ", ".join(f"{name} {value}" for name, value in event.items() if name != "event")
                self._say(f"{self.job.name}, {request['stage']}: {told}")

        answer = self.worker(place).ask(request, self.job.timeout, hear)
        if isinstance(answer, Failed):
            raise StageFailed(str(answer))
        return dict(answer.value)

    def wrong_arguments(self) -> list[str]:
        """What the trainer's library takes not of `train.args`; nothing where its worker does not come to life."""
        job, place = self.job, self.job.train
        if not place.args or self.worker(place).start("preflight") is not None:
            return []
        # No file is read or written for it, wherever the job lies.
        evaluates = Path("trainer_eval.jsonl") if job.data.eval else None
        recipe = Recipe("base", Path("train.jsonl"), Path("out"), place, job.dtype, eval_rows=evaluates)
        request = {"stage": "arguments", "recipe": recipe.plain()}
        inputs = {**request, "versions": self._versions(place)}
        try:
            found = self.state.result("arguments", inputs, lambda: self.ask(place, request))
        except StageFailed as failure:
            return [str(failure)]
        return [f"{self.job.at(f'train.args.{key}'.rstrip('.'))}: {said}" for key, said in found["problems"]]

    def machines(self) -> dict[str, Any]:
        """{stage: every package of its interpreter, and its GPUs}."""
        places: dict[str, Place] = {"train": self.job.train, "eval": self.job.eval}
        inputs = {stage: [place.python, dict(place.env), self._versions(place)] for stage, place in places.items()}
        ask = {"stage": "machine"}
        return self.state.result("machines", inputs, lambda: {s: self.ask(place, ask) for s, place in places.items()})

    def audit(self) -> dict[str, Any]:
        """The labels of the real trainer, and what of the model would learn."""
        recipe = self.recipe(self.job.train.seeds[0])
        request = {
            "stage": "audit",
            "recipe": recipe.plain(),
            "out": str(self.state.folder / "audit"),
            "prompts": self.prompt_ids,
            "stop_ids": list(self.prompts(self.base).stop_ids),
        }
        return self.state.result("audit", self._now(recipe), lambda: self.ask(self.job.train, request))

    def rehearsal(self, look: Callable[[Path, Path], list[dict[str, Any]]]) -> dict[str, Any]:
        """The whole way in small, with what `look` finds in the saved folder and the log; both are gone after that.

        The trainer's worker trains, saves and compares; that of the evaluation loads the result and answers.
        """
        recipe, folder = self.recipe(self.job.train.seeds[0]), self.state.folder / "rehearsal"
        request = {
            "stage": "rehearse",
            "recipe": recipe.plain(),
            "evaluated": self._evaluated_base(),
            "folder": str(folder),
            "prompts": self.prompt_ids[:REHEARSED],
        }

        def make() -> dict[str, Any]:
            found = self.ask(self.job.train, request)
            rows = zip(self.data.train, self.prompt_ids[:REHEARSED], strict=False)
            merged, log = Path(found["merged"]), Path(found["log"])
            found |= {"answered": self.answers_of(merged, rows)["answers"], "findings": look(merged, log)}
            shutil.rmtree(folder)
            return found

        evaluation = {"engine": self.job.eval.engine, "evaluating": self._versions(self.job.eval)}
        return self.state.result("rehearse", self._now(recipe) | evaluation, make)

    def answers_of(self, folder: Path, asked: Iterable[tuple[Example, Sequence[int]]]) -> dict[str, Any]:
        """What the evaluation's engine answers for a folder, which it must be able to load, to (item, prompt's ids).

        Raises StageFailed where it gives up.
        """
        put = {str(number): prompt_of(item, ids, item.prompt) for number, (item, ids) in enumerate(asked)}
        return self._answered_by(folder, put, self.prompts(self.base).stop_ids)

    def _answered_by(
        self,
        folder: Path,
        prompts: Mapping[str, Mapping[str, Any]],
        stop_ids: Sequence[int],
        hear: Callable[[Event], None] = lambda _: None,
    ) -> dict[str, Any]:
        """What the evaluation's engine says of having answered. Raises StageFailed where it gives up."""
        worker = self.worker(self.job.eval)
        answer = worker.ask(request(self.job, folder, prompts, stop_ids), self.job.timeout, hear)
        if isinstance(answer, Failed):
            raise refusal(answer, self.job.eval, worker.versions, folder)
        return dict(answer.value)

    def _now(self, recipe: Recipe) -> dict[str, Any]:
        """What a cheap result is made of: it is made again for other versions of the libraries."""
        return {**self.made_of(recipe), "versions": self._versions(self.job.train)}

    def _versions(self, place: Place) -> dict[str, str]:
        worker = self.worker(place)
        if (failed := worker.start("preflight")) is not None:
            raise StageFailed(str(failed))
        return dict(worker.versions)

    def _evaluated_base(self) -> dict[str, Any]:
        return dict(self.base_run(self.job.suites[0]).loaded)

    def trained(self) -> dict[int, tuple[Recipe, dict[str, Any]]]:
        """{seed: (recipe, what the trainer answered)}; a run that was ended goes on where it was."""
        return self._runs

    @cached_property
    def _runs(self) -> dict[int, tuple[Recipe, dict[str, Any]]]:
        return {seed: self._trained(self.recipe(seed)) for seed in self.job.train.seeds}

    def _trained(self, recipe: Recipe) -> tuple[Recipe, dict[str, Any]]:
        request = {"stage": "train", "recipe": recipe.plain(), "evaluated": self._evaluated_base()}

        def make() -> dict[str, Any]:
            found = self.ask(self.job.train, request)
            if found["interrupted"]:
                raise StageFailed(f"training was ended after {found['steps']} steps; run again to go on")
            return {**found, "sizes": _sizes(recipe)}

        def is_whole(found: Mapping[str, Any]) -> bool:
            sizes = _sizes(recipe)
            whole = recipe.merged.exists() and found.get("sizes", sizes) == sizes
            if not whole:
                self._tell(f"{recipe.out}: what was trained is not there as it was saved: it is made again")
            return whole

        return recipe, self.state.result(f"train-{recipe.seed}", self.made_of(recipe), make, is_whole)

    def agreement(self, recipe: Recipe) -> dict[str, Any]:
        """Adapter, merged and saved model of a run, compared."""
        request = {
            "stage": "artifact",
            "base": str(self.base),
            "adapter": str(recipe.adapter) if recipe.adapts else None,
            "merged": str(recipe.merged),
            "dtype": self.job.dtype,
            "prompts": self.prompt_ids,
        }
        inputs = {"base": content(self.base), "dtype": self.job.dtype, "prompts": self.prompt_ids}
        inputs |= {name: content(folder) for name, folder in {"a": recipe.adapter, "m": recipe.merged}.items()}
        return self.state.result(f"artifact-{recipe.seed}", inputs, lambda: self.ask(self.job.train, request))

    # Answers.

    def base_run(self, suite: Suite) -> Evaluated:
        """The base's answers to a suite."""
        return self._evaluated(suite, self.data.suites[suite.name], self.base)

    def base_again(self, suite: Suite) -> Evaluated:
        """The base's answers to a suite in other batches and under another seed."""
        return self._evaluation(suite, self.data.suites[suite.name], self.base, disturbed(self.job))

    def tuned_runs(self, suite: Suite, items: tuple[Example, ...] | None = None) -> list[Evaluated]:
        """The tuned model's answers, one run for each seed."""
        items = self.data.suites[suite.name] if items is None else items
        return [self._evaluated(suite, items, recipe.merged) for recipe, _ in self.trained().values()]

    def generate(self, folder: Path, conversations: Sequence[Sequence[Mapping[str, Any]]]) -> list[str]:
        """What a model answers to conversations of one's own, as evaluation would ask it; nothing is kept."""
        prompts, found = self.prompts(folder), dict[str, str]()
        both = enumerate(zip(conversations, prompts.ids(conversations), strict=True))
        put = {str(i): {"messages": [dict(message) for message in chat], "ids": ids} for i, (chat, ids) in both}

        def hear(event: Event) -> None:
            found.update({answer["key"]: answer["text"] for answer in event.get("answers", ())})

        self._answered_by(folder, put, prompts.stop_ids, hear)
        return [found[key] for key in put]

    def sides(self, suite: Suite) -> tuple[Evaluated, list[Evaluated]]:
        """Base and tuned answers. Raises NotComparable where they were not asked the same, or are of one model."""
        base, tuned = self.base_run(suite), self.tuned_runs(suite)
        for run in tuned:
            check_manifests(base.manifest, run.manifest)
            check_servers(base.loaded, run.loaded)
        return base, tuned

    def _evaluated(
        self, suite: Suite, items: tuple[Example, ...], folder: Path | None, arm: Arm | None = None
    ) -> Evaluated:
        key = suite.name, folder, arm.name if arm else None
        if key not in self._answered:
            job = arm_endpoint.answered_by(arm, self.job) if arm else self.job
            self._answered[key] = self._evaluation(suite, items, folder, job, arm)
        return self._answered[key]

    def _evaluation(
        self, suite: Suite, items: tuple[Example, ...], folder: Path | None, job: Job, arm: Arm | None = None
    ) -> Evaluated:
        limit = job.eval.limit or len(items)
        evaluation = Evaluation(job, suite, items[:limit], folder, self.cache)
        prompts = self.prompts(folder, foreign=arm is not None and arm.model is not None) if folder else None
        if arm is not None:
            evaluation = dataclasses.replace(evaluation, chat=self.asking[arm.name].messages)
            if prompts:
                arms.check_prompts(arm, self.asking[arm.name], evaluation, prompts)
        return evaluation.run(self.worker(job.eval), prompts, self._say, self._tell)

    # Arms.

    @property
    def targets(self) -> list[Suite]:
        """The suites that arms answer."""
        return [suite for suite in self.job.suites if suite.role == "target"]

    @cached_property
    def _arm_folders(self) -> dict[str, Path | None]:
        return {arm.name: arms.folder(arm, self.base) for arm in self.job.arms}

    @cached_property
    def asking(self) -> dict[str, arms.Asking]:
        """{arm: how it asks}. Its examples are never rows that a suite asks, the mirror's included."""
        return {arm.name: arms.asking(arm, self.data, [*self.data.held_out, *self._aimed]) for arm in self.job.arms}

    def check_arms(self) -> None:
        """Raise UsageError for what an arm cannot ask, naming rows, before anything is asked."""
        for arm in self.job.arms:
            arms.check_rows(arm, self.asking[arm.name], self._aimed)

    def check_lengths(self) -> None:
        """Raise UsageError for the first suite whose answers have no place behind its longest prompt."""
        limit = self.job.eval.limit or None
        for suite in self.job.suites:
            asked = Evaluation(self.job, suite, self.data.suites[suite.name][:limit], self.base, self.cache)
            asked.check_length(self.prompts(self.base), f"suite {suite.name}", "lower eval.gen.max_tokens")

    @property
    def _aimed(self) -> list[Example]:
        return [item for suite in self.targets for item in self.data.suites[suite.name]]

    def arm_run(self, arm: Arm, suite: Suite) -> Evaluated:
        """An arm's answers to a suite. Raises UsageError where the model cannot be asked in that way."""
        made = self._evaluated(suite, self.data.suites[suite.name], self._arm_folders[arm.name], arm)
        check_manifests(self.base_run(suite).manifest, made.manifest, arms.differing(arm))
        return made


def _sizes(recipe: Recipe) -> dict[str, int]:
    """{file: bytes} of the weights that a run saved. Whoever mends a config there takes nothing from them."""
    files = [path for folder in (recipe.adapter, recipe.merged) for path in sorted(folder.glob("*.safetensors"))]
    return {str(path.relative_to(recipe.out)): path.stat().st_size for path in files}
