"""One suite answered by one model: prompts as token ids, answers scored and appended, all of it keyed by content."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any

from modelcheck.dataset.example import Example, Message, text_of
from modelcheck.errors import UsageError, did_you_mean
from modelcheck.finetune import samples, thinking
from modelcheck.finetune.engines.answer import RETOKENISED
from modelcheck.finetune.identity import content
from modelcheck.finetune.job import Job, Suite
from modelcheck.finetune.lock import Lock
from modelcheck.finetune.prompts import Prompts
from modelcheck.finetune.refusals import StageFailed, refusal
from modelcheck.finetune.samples import COUNTED, Sample
from modelcheck.finetune.scorers import Score, Scored, scorer
from modelcheck.finetune.stage import Event, Failed, Worker
from modelcheck.finetune.state import digest


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt as the model gets it. `thinking`: it ends with an opening tag, and the answer begins as thinking."""

    ids: Sequence[int] = ()
    thinking: bool = False


@dataclass(frozen=True, slots=True)
class Evaluated:
    """Where the samples of a suite are, what they were made of, and what the engine really loaded.

    `items` are what was asked, as the job has them today.
    """

    path: Path
    manifest: Mapping[str, Any]
    loaded: Mapping[str, Any]
    items: Sequence[Example]

    @property
    def notes(self) -> list[str]:
        """What the engine could not check, or not have as it was asked for, in words."""
        return list(self.loaded.get("notes", ()))

    @property
    def retokenised(self) -> bool:
        """Whether the tokens of its answers are those of texts, and not as many as the model wrote."""
        return bool(self.loaded.get("answer_ids") == RETOKENISED)

    def samples(self) -> list[Sample]:
        """Every answer, in the clusters and slices that the job names today: they are no part of an answer."""
        known = {item.id: item for item in self.items}
        return [_grouped(sample, known[sample.item]) for sample in samples.read(self.path)]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A suite of a job put to the model in `folder`, or without one to another model behind the server of `job.eval`.

    `cache` holds what models have answered, by content; of a server nothing is known but its name.
    `chat` makes the messages that stand before the answer; an arm has others than the row's own.
    """

    job: Job
    suite: Suite
    items: Sequence[Example]
    folder: Path | None
    cache: Path
    chat: Callable[[Example], Sequence[Message]] = attrgetter("prompt")

    def run(
        self,
        worker: Worker,
        prompts: Prompts | None,
        say: Callable[[str], None] = lambda _: None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> Evaluated:
        """Answer what is not answered yet; there are no `prompts` of a model without a folder.

        `say` gets how far it is, `tell` whoever is waited for.
        Raises StageFailed where the engine gives up.
        """
        made = self._asked(prompts) if prompts else [Asked() for _ in self.items]
        asked = dict(zip((item.id for item in self.items), made, strict=True))
        if (failed := worker.start("generate")) is not None:
            raise StageFailed(str(failed))
        score = scorer_of(self.job, self.suite, self.cache)
        manifest = self._manifest(asked, prompts, score, worker.versions)
        # More repeats are more lines of the same file, not another one.
        place = self.cache / digest(manifest)[:24]
        path = place / "samples.jsonl"
        place.mkdir(parents=True, exist_ok=True)
        # Jobs share what models have answered: two of them, in two processes, may ask for the same.
        with Lock(place / "lock", tell):
            if not _loaded(place):  # lost or torn: nobody knows who gave these answers
                path.unlink(missing_ok=True)
            known = samples.present(path)
            missing = [key for key in self._keys() if key not in known]
            if missing:
                (place / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
                self._answer(worker, prompts, asked, missing, place, score, say)
        return Evaluated(path, manifest, _loaded(place), self.items)

    def ids(self, prompts: Prompts) -> list[list[int]]:
        """The prompt of each item as token ids."""
        return [ids for _, ids in self._made(prompts)]

    def _made(self, prompts: Prompts) -> list[tuple[str, list[int]]]:
        if any(item.tools for item in self.items):
            return [prompts.made([self.chat(item)], **_tools(item))[0] for item in self.items]
        return prompts.made([self.chat(item) for item in self.items])

    def _asked(self, prompts: Prompts) -> list[Asked]:
        strip = self.job.eval.strip_thinking
        # What is held to a grammar is an answer from its first token, whatever the template opens before it.
        tags = strip.tags if strip and not self.job.eval.grammar else ()
        return [Asked(ids, thinking.opens(text, tags)) for text, ids in self._made(prompts)]

    def check_length(self, prompts: Prompts, who: str, remedy: str) -> None:
        """Raise UsageError where prompt and answer are more tokens than the model was made for."""
        limit, answer = prompts.positions, self.job.eval.gen.max_tokens
        longest = max(map(len, self.ids(prompts))) if limit is not None else 0
        if limit is not None and longest + answer > limit:
            raise UsageError(
                f"{who}: its longest prompt has {longest} tokens and eval.gen.max_tokens is {answer}, but "
                f"{prompts.folder} was made for {limit} positions: {remedy}"
            )

    def _keys(self) -> list[tuple[str, int]]:
        return [(item.id, repeat) for repeat in range(self.job.eval.runs) for item in self.items]

    def _manifest(
        self, asked: Mapping[str, Asked], prompts: Prompts | None, score: Score, versions: Mapping[str, str]
    ) -> dict[str, Any]:
        evaluation = self.job.eval
        rendered = sorted((item, one.ids, *["thinking"] * one.thinking) for item, one in asked.items())
        return {
            "weights": digest(_computed(prompts.folder)) if prompts else None,
            "items": digest(sorted(asked)),
            "prompts": digest(rendered if prompts else self._sent()),
            "stop_ids": list(prompts.stop_ids) if prompts else [],
            "gen": self.job.plain()["eval"]["gen"],
            "thinking": self.job.plain()["eval"]["strip_thinking"],
            "scorer": {**score.decides, **({"rows": _columns(self.items)} if score.reads_rows else {})},
            "engine": {"version": _version(evaluation.backend, versions), **evaluation.computing},
            "dtype": self.job.dtype,
            **({"grammar": evaluation.grammar} if evaluation.grammar else {}),
        }

    def _sent(self) -> list[Any]:
        """What a server renders by itself."""
        ordered = sorted(self.items, key=attrgetter("id"))
        return [prompt_of(item, (), self.chat(item)) for item in ordered]

    def _answer(
        self,
        worker: Worker,
        prompts: Prompts | None,
        asked: Mapping[str, Asked],
        missing: Sequence[tuple[str, int]],
        place: Path,
        score: Score,
        say: Callable[[str], None],
    ) -> None:
        by_id = {item.id: item for item in self.items}
        waiting: list[Mapping[str, Any]] = []

        def keep() -> None:
            samples.append(place / "samples.jsonl", self._samples(waiting, by_id, asked, score))
            waiting.clear()

        def hear(event: Event) -> None:
            if event["event"] == "loaded":
                (place / "loaded.json").write_text(json.dumps(dict(event), indent=1), encoding="utf-8")
            elif event["event"] == "batch":
                waiting.extend(event["answers"])
                if len(waiting) >= score.lot:
                    keep()
                say(f"{self.job.name}, {self.suite.name}: {event['done']} of {event['total']} answers")

        put = {
            f"{item} {repeat}": prompt_of(by_id[item], asked[item].ids, self.chat(by_id[item]))
            for item, repeat in missing
        }
        stop_ids = prompts.stop_ids if prompts else ()
        answer = worker.ask(request(self.job, self.folder, put, stop_ids), self.job.timeout, hear)
        if waiting:
            keep()
        if isinstance(answer, Failed):
            raise refusal(answer, self.job.eval, worker.versions, self.folder)

    def _samples(
        self,
        answers: Sequence[Mapping[str, Any]],
        by_id: Mapping[str, Example],
        asked: Mapping[str, Asked],
        score: Score,
    ) -> list[Sample]:
        strip = self.job.eval.strip_thinking
        texts = [answer["text"] for answer in answers]
        items = [by_id[answer["key"].split()[0]] for answer in answers]
        if strip is not None:
            within = [asked[i.id].thinking and not a.get("apart") for i, a in zip(items, answers, strict=True)]
            texts = [
                thinking.strip(text, strip.tags, unclosed=strip.unclosed, opened=opened)
                for text, opened in zip(texts, within, strict=True)
            ]
        scores = score.many([*zip(texts, items, strict=True)])
        together = zip(answers, items, texts, scores, strict=True)
        return [_sample(answer, item, text, scored, asked[item.id].ids) for answer, item, text, scored in together]


def scorer_of(job: Job, suite: Suite, cache: Path | None = None) -> Score:
    """The scorer of a suite. Raises UsageError for what of it is not there."""
    if (beside := str(job.file.parent)) not in sys.path:
        sys.path.append(beside)  # where a scorer of the job's own lies
    return scorer(suite.scorer.settings, job.place(suite), cache)


def _loaded(place: Path) -> dict[str, Any]:
    """What the engine that answered had loaded; nothing where that is not to be read."""
    try:
        found = json.loads((place / "loaded.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _sample(answer: Mapping[str, Any], item: Example, text: str, scored: Scored, prompt_ids: Sequence[int]) -> Sample:
    counted = answer.get("counted")
    made = Sample(
        item=item.id,
        repeat=int(answer["key"].split()[1]),
        prompt=text_of(item.prompt[-1]) if item.prompt else "",
        prompt_ids=tuple(prompt_ids),
        answer=text,
        raw=answer["text"],
        stopped=answer["finish"] == "stop",
        tokens=(counted["written"] or 0) if counted else len(answer["ids"]),
        score=scored.value,
        reference=item.reference,
        metadata={**scored.metadata, **({COUNTED: counted} if counted else {})},
    )
    return _grouped(made, item)


def _grouped(sample: Sample, item: Example) -> Sample:
    return replace(sample, cluster=item.cluster, slice=item.slice, critical=item.critical)


def request(
    job: Job, folder: Path | None, prompts: Mapping[str, Mapping[str, Any]], stop_ids: Sequence[int]
) -> dict[str, Any]:
    """What the engine of a job is asked: prompts, each a Prompt as JSON, for a folder or a server."""
    # A server is kept by itself, and its place may be another when it is started again.
    kept = [content(folder), job.dtype, job.eval.engine] if folder and job.eval.backend != "openai" else None
    return {
        "stage": "generate",
        "keep": digest(kept) if kept else None,
        "folder": str(folder) if folder else None,
        "dtype": job.dtype,
        "engine": job.eval.engine,
        "prompts": prompts,
        "gen": job.plain()["eval"]["gen"],
        "stop_ids": list(stop_ids),
    }


def _version(backend: str, versions: Mapping[str, str]) -> str | None:
    """Of a server, only the client's version would be known."""
    return versions.get(backend) if backend != "openai" else None


def _columns(items: Sequence[Example]) -> str:
    """The digest of everything that rows hold. At which address an object of a data set lies is no part of it."""
    rows = sorted(([item.id, dict(item.fields)] for item in items), key=itemgetter(0))
    return digest(re.sub(r" at 0x[0-9a-fA-F]+", "", json.dumps(rows, sort_keys=True, default=str)))


def _computed(folder: Path) -> dict[str, str]:
    """What decides what a model computes from token ids: its weights, and how its config has them used."""
    parts = content(folder)
    return {name: parts[name] for name in parts if name == "config.json" or name.endswith(".safetensors")}


def prompt_of(item: Example, ids: Sequence[int], messages: Sequence[Message]) -> dict[str, Any]:
    """A Prompt as JSON."""
    return {"ids": list(ids), "messages": [dict(message) for message in messages], **_tools(item)}


def _tools(item: Example) -> dict[str, Any]:
    return {"tools": list(item.tools)} if item.tools else {}


def base_folder(job: Job) -> Path:
    """The base model's folder; a hub id is fetched whole. Raises UsageError where there is none."""
    try:
        return model_folder(job.base, job.revision, "base")
    except UsageError as reason:
        tried = Path(job.file.parent, job.base)
        beside = tried.parent.iterdir() if tried.parent.is_dir() else ()
        near = did_you_mean(tried.name, [path.name for path in beside if (path / "config.json").is_file()])
        raise UsageError(f"{reason}; nor is there a folder {tried}{near}") from None


def model_folder(model: str, revision: str | None, key: str) -> Path:
    """The folder of a model that `key` of a job names; a hub id is fetched whole. Raises UsageError for none."""
    place = Path(model)
    if place.is_dir():
        return place
    if place.is_absolute():
        raise UsageError(f"{key} = {model!r} is no folder")
    try:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(model, revision=revision))
    except Exception as error:  # the hub's client raises what its own libraries do
        raise UsageError(f"{key} = {model!r} is no folder and cannot be fetched: {error}") from None


def rows_of(items: Sequence[Example]) -> Iterator[str]:
    """Rows as the trainer's workers read them, a JSON line each."""
    for item in items:
        row = {"messages": [dict(message) for message in item.messages], **_tools(item)}
        yield json.dumps(row, ensure_ascii=False) + "\n"
