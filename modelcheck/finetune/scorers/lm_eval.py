"""Tasks of lm-eval as suites: its items and its metrics, answered by our engines, so that both sides are paired.

What comes of lm-eval (0.4.13 was tried): the documents, few-shot examples and description as messages of a chat, the
stop sequences at which an answer is cut, filters and metrics. What comes of the job: chat template and decoding.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from modelcheck.dataset.example import Example
from modelcheck.errors import UsageError, did_you_mean
from modelcheck.finetune.scorers.options import Options, Scorer

INSTEAD = "evaluate both sides with lm-eval --log_samples and compare them with `modelcheck gate`"
# The seed by which lm-eval itself draws examples.
SEED = 1234
WANTED = "a list of names of tasks"


def items(settings: Mapping[str, Any], place: str = "scorer") -> list[Example]:
    """The documents of all tasks of a scorer's table, each task a slice. Raises UsageError for what cannot be used."""
    options = Options(settings, place)
    limit = options.take("limit", int, "a number of documents of each task", 0)
    return [item for name, task in _tasks(options).items() for item in _items(name, task, limit or None, place)]


def lm_eval(options: Options) -> Scorer:
    """What the task's own filter and metric say of an answer to one of its documents.

    `metric` is named as in lm-eval's table, `exact_match,strict-match`; it may be left out where there is only one.
    `tasks`, `num_fewshot`, `include_path` and `limit` say which items the suite has.
    """
    options.take("limit", int, "a number of documents of each task", 0)
    named = options.take("metric", str, "a metric and its filter", "")
    tasks = _tasks(options)
    configs = {name: task.config.to_dict() for name, task in tasks.items()}
    options.rests_on("tasks", json.dumps(configs, sort_keys=True, default=lambda value: type(value).__name__).encode())
    options.reads_rows = True
    chosen = {name: _metric(name, task, named, options) for name, task in tasks.items()}

    def score(answer: str, item: Example) -> float:
        name, place = str(item.fields["task"]), options.place
        task, metric, ensemble = chosen[name]
        try:
            return float(_measured(task, answer, item.fields, ensemble)[metric])
        except Exception as error:
            problem = f"{name} raised {type(error).__name__}: {error} for the answer {answer[:60]!r} to {item.place}"
            raise UsageError(f"{place}: {problem}; {INSTEAD}") from None

    return score


def _measured(task: Any, answer: str, fields: Mapping[str, Any], ensemble: Any) -> Mapping[str, Any]:
    """{metric: value} of one answer, as lm-eval's own evaluator finds it: cut, filtered, compared."""
    from lm_eval.api.instance import Instance

    for stop in fields["until"]:
        answer = answer.partition(stop)[0]
    kept: Any = answer
    if ensemble is not None:
        doc = fields["doc"]
        instance = Instance("generate_until", doc, (fields["context"], {}), 0, (task.config.task, 0, 1))
        instance.resps = [answer]
        ensemble.apply([instance])
        kept = instance.filtered_resps[ensemble.name]
    measured: Mapping[str, Any] = task.process_results(fields["doc"], [kept])
    return measured


def _metric(name: str, task: Any, named: str, options: Options) -> tuple[Any, str, Any]:
    """The task, the metric that judges it, and the filter that answers go through before."""
    filters = {f.name: f for f in getattr(task, "_filters", ())} or {"none": None}
    known = {f"{m},{f}": (m, filters[f]) for m in task.aggregation() for f in filters}
    found = [key for key in known if key == named or key.startswith(f"{named},") or not named]
    if len(found) != 1:
        problem = f"has no metric {named!r}{did_you_mean(named, known)}" if not found else "has several metrics"
        raise UsageError(f"{options.place}: {name} {problem}; set metric to one of {' or '.join(known)}")
    metric, ensemble = known[found[0]]
    return task, metric, ensemble


def _items(name: str, task: Any, limit: int | None, place: str) -> Iterator[Example]:
    task.set_fewshot_seed(SEED)
    try:
        task.build_all_requests(limit=limit, apply_chat_template=True, fewshot_as_multiturn=True, chat_template=_chat)
        requests = list(task.instances)
    except Exception as error:
        raise UsageError(f"{place}: the prompts of {name} cannot be made ({type(error).__name__}: {error})") from None
    for number, request in enumerate(requests, 1):
        context, generation = request.args[0], request.args[1]
        messages = json.loads(context)
        if messages[-1]["role"] == "assistant":
            raise UsageError(f"{place}: {name} begins the model's answer itself, which no chat template can; {INSTEAD}")
        until = generation.get("until") or []
        yield Example(
            tuple(messages),
            number,
            f"lm_eval task {name}",
            reference=json.loads(json.dumps(task.doc_to_target(request.doc), default=str)),
            slice=name,
            fields={
                "task": name,
                "doc": request.doc,
                "context": context,
                "until": [until] if isinstance(until, str) else until,
            },
        )


def _chat(messages: Sequence[Mapping[str, str]], **_: Any) -> str:
    """In the place of a chat template: the messages themselves, which the job's own template will render."""
    return json.dumps(list(messages))


def _tasks(options: Options) -> dict[str, Any]:
    names = options.take("tasks", list, WANTED)
    if not names or not all(isinstance(name, str) for name in names):
        options.refuse("tasks", WANTED)
    folder = options.take("include_path", str, "a folder with tasks", "")
    fewshot = options.take("num_fewshot", int, "a number of examples", -1)
    loaded = _loaded(tuple(names), folder, fewshot, options.place)
    for name, task in loaded.items():
        if refusal := _refusal(task):
            raise UsageError(f"{options.place}: {name} {refusal}; {INSTEAD}")
    return loaded


def _refusal(task: Any) -> str:
    if task.OUTPUT_TYPE != "generate_until":
        return f"asks how likely given texts are ({task.OUTPUT_TYPE}), and engines here write answers"
    if task.config.repeats > 1:
        return f"draws {task.config.repeats} answers and judges them together"
    return "runs code that the model wrote" if getattr(task, "UNSAFE_CODE", False) else ""


@lru_cache(maxsize=8)
def _loaded(names: tuple[str, ...], folder: str, fewshot: int, place: str) -> dict[str, Any]:
    try:
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise UsageError(f"{place}: lm_eval needs the package of that name: pip install lm-eval ({error})") from None
    # lm-eval takes the better part of a minute to index the tasks that it brings.
    manager = TaskManager(include_path=folder, include_defaults=False) if folder else None
    if manager is None or not set(names) <= set(manager.all_tasks):
        manager = TaskManager(include_path=folder or None)
    for name in names:
        if name not in manager.all_tasks:
            hint = did_you_mean(name, manager.all_tasks)
            raise UsageError(f"{place}: lm-eval knows no task {name!r}{hint}; `lm-eval ls tasks` lists them")
    try:
        tasks: dict[str, Any] = dict(manager.load(list(names))["tasks"])
    except Exception as error:
        raise UsageError(f"{place}: {', '.join(names)} cannot be loaded ({type(error).__name__}: {error})") from None
    for task in tasks.values():
        if fewshot >= 0:
            task.set_config("num_fewshot", fewshot)
    return tasks
