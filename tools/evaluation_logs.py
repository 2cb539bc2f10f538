"""Make tests/logs/: real logs of lm-eval, inspect_ai and lighteval in which two made-up models answer the same items.

    python tools/evaluation_logs.py lm_eval FOLDER      # in an environment that has the program; nothing is fetched

FOLDER gets base/ and tuned/, each with what the program itself writes. The answers are the same in every program.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

ITEMS = [{"question": f"What is {a} + {a + 3}?", "answer": str(2 * a + 3), "page": f"page {a // 3}"} for a in range(24)]
# The items that each model gets wrong.
WRONG = {"base": {1, 5, 9, 20}, "tuned": {5, 22}}


def answer(side: str, question: str) -> str:
    """What a side's model answers to the last question of a prompt."""
    at = max(range(len(ITEMS)), key=lambda i: question.rfind(ITEMS[i]["question"]))
    return "I do not know" if at in WRONG[side] else ITEMS[at]["answer"]


def lm_eval(side: str, folder: Path, work: Path) -> None:
    """One task with generated answers, one with choices, asked by `simple_evaluate` and saved by its tracker."""
    from lm_eval import simple_evaluate
    from lm_eval.api.model import LM
    from lm_eval.loggers import EvaluationTracker
    from lm_eval.tasks import TaskManager

    class Model(LM):  # type: ignore[misc]
        def generate_until(self, requests: Any, **_: Any) -> list[str]:
            return [answer(side, request.args[0]) for request in requests]

        def loglikelihood(self, requests: Any, **_: Any) -> list[tuple[float, bool]]:
            return [(-1.0 if answer(side, r.args[0]) == r.args[1].strip() else -2.0, False) for r in requests]

        def loglikelihood_rolling(self, requests: Any, **_: Any) -> list[float]:
            raise NotImplementedError  # no task here rolls: nobody asks for it

    rows = _rows(work)
    shared = (
        "dataset_path: json\n"
        f"dataset_kwargs: {{data_files: {{test: {rows}}}}}\n"
        "test_split: test\n"
        "doc_to_text: 'Sums.\n\n  Q: {{question}}\n\n  A:'\n"
        "metadata: {version: 1}\n"
    )
    generated = (
        "output_type: generate_until\ndoc_to_target: answer\ngeneration_kwargs: {until: ['Q:'], max_gen_toks: 16}\n"
    )
    matched = "metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]\n"
    filters = (
        "filter_list:\n- {name: strict, filter: [{function: take_first}]}\n"
        "- {name: digits, filter: [{function: regex, regex_pattern: '([0-9]+)'}, {function: take_first}]}\n"
    )
    choices = (
        "output_type: multiple_choice\ndoc_to_choice: '{{[answer, \"I do not know\"]}}'\ndoc_to_target: 0\n"
        "metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]\n"
    )
    (work / "sums.yaml").write_text(f"task: sums\n{shared}{generated}{matched}{filters}")
    (work / "sums_choice.yaml").write_text(f"task: sums_choice\n{shared}{choices}")
    found = simple_evaluate(
        model=Model(),
        tasks=["sums", "sums_choice"],
        task_manager=TaskManager(include_path=str(work), include_defaults=False),
        log_samples=True,
        bootstrap_iters=0,
    )
    tracker = EvaluationTracker(output_path=str(folder))
    tracker.general_config_tracker.model_name_sanitized = ""
    samples = found.pop("samples")
    tracker.date_id = "2026-11-22T12-00-00.000000"
    for task, records in samples.items():
        tracker.save_results_samples(task_name=task, samples=records)


def inspect(side: str, folder: Path, work: Path) -> None:
    """Two scorers, one of them with two values: two epochs as .eval, a few items as .json."""
    from inspect_ai import Task
    from inspect_ai import eval as evaluate
    from inspect_ai.dataset import MemoryDataset, Sample
    from inspect_ai.model import ModelOutput, get_model
    from inspect_ai.model._providers.mockllm import MockLLM
    from inspect_ai.scorer import Score, match, mean, scorer
    from inspect_ai.solver import generate, system_message

    async def count(_api: Any, text: str) -> int:
        return len(text)

    MockLLM.count_text_tokens = count  # its own counts with an encoding that it fetches

    @scorer(metrics={"short": [mean()], "polite": [mean()]})  # type: ignore[untyped-decorator]
    def style() -> Any:
        async def score(state: Any, _target: Any) -> Score:
            return Score(value={"short": len(state.output.completion) < 5, "polite": 0.5})

        return score

    dataset = MemoryDataset(
        [
            Sample(id=n, input=item["question"], target=item["answer"], metadata={"page": item["page"]})
            for n, item in enumerate(ITEMS)
        ],
        name="sums",
    )
    os.chdir(work)
    for form, epochs, limit in (("eval", 2, None), ("json", 1, 6)):
        model = get_model("mockllm/model", custom_outputs=lambda messages, *_: _output(ModelOutput, side, messages))
        task = Task(
            dataset=dataset,
            solver=[system_message("Answer with a number."), generate()],
            scorer=[match(numeric=True), style()],
            epochs=epochs,
            name="sums",
        )
        where = {"log_dir": str(work / form), "log_format": form, "display": "none"}
        evaluate(task, model=model, limit=limit, max_tokens=16, **where)
        [log] = (work / form).glob(f"*.{form}")
        log.rename(folder / f"sums.{form}")


def _output(kind: Any, side: str, messages: Any) -> Any:
    return kind.from_content(model="mockllm/model", content=answer(side, messages[-1].text))


def lighteval(side: str, folder: Path, work: Path) -> None:
    """One generative task, run by the pipeline with a model class of one's own."""
    from types import SimpleNamespace

    import xxhash
    from lighteval.logging import info_loggers
    from lighteval.logging.evaluation_tracker import EvaluationTracker
    from lighteval.models.dummy.dummy_model import DummyModel, DummyModelConfig
    from lighteval.models.model_output import ModelResponse
    from lighteval.pipeline import ParallelismManager, Pipeline, PipelineParameters
    from lighteval.tasks.registry import Registry

    # The tasks that it brings are loaded with it, and some of them fetch what they need.
    for load in ("_load_from_files", "_load_from_subdirs"):
        setattr(Registry, load, staticmethod(lambda *_: {}))

    class Model(DummyModel):  # type: ignore[misc]
        def greedy_until(self, docs: Any) -> list[Any]:
            return [
                ModelResponse(input=doc.query, input_tokens=[*doc.query.encode()], text=[answer(side, doc.query)])
                for doc in docs
            ]

    # It hands over text, which newer versions of xxhash do not take.
    info_loggers.xxhash = SimpleNamespace(xxh64=lambda text: xxhash.xxh64(text.encode()))
    (work / "rows").mkdir()
    _rows(work / "rows")
    (work / "sums_task.py").write_text(TASK.format(rows=str(work / "rows")))
    tracker = EvaluationTracker(output_dir=str(work / "out"), save_details=True)
    pipeline = Pipeline(
        tasks="sums|0",
        pipeline_parameters=PipelineParameters(
            launcher_type=ParallelismManager.NONE, custom_tasks_directory=str(work / "sums_task.py")
        ),
        evaluation_tracker=tracker,
        model=Model(DummyModelConfig(model_name="made-up", cache_dir=str(work / "cache"))),
    )
    pipeline.evaluate()
    pipeline.save_and_push_results()
    [details] = (work / "out").rglob("*.parquet")
    details.rename(folder / "details_sums.parquet")  # its own name has a "|" in it


TASK = """
from lighteval.metrics.metrics import Metrics
from lighteval.tasks.lighteval_task import LightevalTaskConfig
from lighteval.tasks.requests import Doc

def prompt(line, task_name):
    return Doc(task_name=task_name, query=line["question"], choices=[line["answer"]], gold_index=0, specific=line)

TASKS_TABLE = [LightevalTaskConfig(
    name="sums", prompt_function=prompt, hf_repo={rows!r}, hf_subset="default", metrics=[Metrics.exact_match],
    hf_avail_splits=["train"], evaluation_splits=["train"], generation_size=16, stop_sequence=["Q:"])]
"""


def _rows(folder: Path) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(item) + "\n" for item in ITEMS))
    return path


def main(program: str, folder: str) -> None:
    """Both sides of one program."""
    for side in WRONG:
        place = Path(folder).resolve() / side
        place.mkdir(parents=True)
        with tempfile.TemporaryDirectory() as work:
            {"lm_eval": lm_eval, "inspect": inspect, "lighteval": lighteval}[program](side, place, Path(work))


if __name__ == "__main__":
    main(*sys.argv[1:])
