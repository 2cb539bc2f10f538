"""A task of lm-eval as a suite: its items, its filters, its metrics. lm-eval is one of `tools/overlays.py`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelcheck import UsageError
from modelcheck.finetune.data import load
from modelcheck.finetune.job_file import read_jobs
from modelcheck.finetune.scorers import scorer
from modelcheck.finetune.scorers.lm_eval import items

SUMS = """\
task: sums
dataset_path: json
dataset_kwargs: {data_files: {test: ROWS, validation: ROWS}}
test_split: test
fewshot_split: validation
description: Add.
doc_to_text: 'Q: {{question}}'
doc_to_target: '{{answer}}'
generation_kwargs: {until: ['Q:', stop], max_gen_toks: 16}
filter_list:
- {name: strict, filter: [{function: take_first}]}
- {name: digits, filter: [{function: regex, regex_pattern: '([0-9]+)'}, {function: take_first}]}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
"""


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    """A scorer's table for a task on six local rows."""
    rows = [{"question": f"{n} + 1", "answer": str(n + 1)} for n in range(6)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    own = tmp_path / "tasks"
    own.mkdir()
    text = SUMS.replace("ROWS", str(tmp_path / "rows.jsonl"))
    (own / "sums.yaml").write_text(text + "output_type: generate_until\n")
    choice = text.replace("task: sums", "task: choices").replace("'{{answer}}'", "0")
    (own / "choices.yaml").write_text(choice + "output_type: multiple_choice\ndoc_to_choice: ['1', '2']\n")
    return {"type": "lm_eval", "tasks": ["sums"], "metric": "exact_match,strict", "include_path": str(own)}


def test_without_lm_eval_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval.tasks", None)
    with pytest.raises(UsageError, match=r"scorer: lm_eval needs the package of that name: pip install lm-eval"):
        items({"tasks": ["no_such_task"]})


def test_a_suite_of_tasks_names_no_data(tmp_path: Path) -> None:
    (tmp_path / "a.modelcheck.toml").write_text(
        '[job.a]\nbase = "/m"\n[job.a.data]\ntrain = { path = "t.jsonl" }\n[[job.a.suite]]\nname = "s"\n'
        'role = "guard"\nmargin = 0.1\ndata = "eval"\nscorer = { type = "lm_eval", tasks = ["sums"] }\n'
    )
    with pytest.raises(UsageError, match="a suite of lm_eval has the items of its tasks: leave data out"):
        read_jobs(tmp_path / "a.modelcheck.toml")


@pytest.mark.slow
class TestWithLmEval:
    @pytest.fixture(autouse=True)
    def installed(self, cached: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.syspath_prepend(cached("lm_eval"))

    def test_documents_become_items(self, settings: dict[str, Any]) -> None:
        found = items(settings)
        assert [item.reference for item in found] == ["1", "2", "3", "4", "5", "6"]
        assert [dict(m) for m in found[0].messages] == [
            {"role": "system", "content": "Add."},
            {"role": "user", "content": "Q: 0 + 1"},
        ]
        assert {item.slice for item in found} == {"sums"}

    def test_examples_are_turns_and_the_same_every_time(self, settings: dict[str, Any]) -> None:
        first, second = (items(settings | {"num_fewshot": 2, "limit": 3}) for _ in range(2))
        assert [m["role"] for m in first[0].messages] == ["system", "user", "assistant", "user", "assistant", "user"]
        assert [item.id for item in first] == [item.id for item in second]
        assert len(first) == 3

    @pytest.mark.parametrize(
        ("answer", "strict", "digits"),
        [("1", 1, 1), ("It is 1", 0, 1), ("1Q: 2", 1, 1), ("1 stop", 0, 1), ("2", 0, 0), ("", 0, 0)],
    )
    def test_answers_are_cut_filtered_and_compared(
        self, settings: dict[str, Any], answer: str, strict: int, digits: int
    ) -> None:
        item = items(settings)[0]
        for name, expected in (("strict", strict), ("digits", digits)):
            assert scorer(settings | {"metric": f"exact_match,{name}"})(answer, item).value == expected

    def test_scores_are_those_of_lm_eval_itself(self, settings: dict[str, Any]) -> None:
        from lm_eval import simple_evaluate
        from lm_eval.api.model import LM
        from lm_eval.tasks import TaskManager

        answers = ["1", "It is 2", "no", "4Q: 5", "5 stop", "7"]

        class Model(LM):  # type: ignore[misc]
            def generate_until(self, requests: Any, **_: Any) -> list[str]:
                return [answers[r.doc_id].split("Q:")[0].split("stop")[0] for r in requests]

            def loglikelihood(self, requests: Any, **_: Any) -> Any:
                raise AssertionError("the task at hand generates: nobody asks for likelihoods")

            loglikelihood_rolling = loglikelihood

        manager = TaskManager(include_path=settings["include_path"], include_defaults=False)
        found = simple_evaluate(Model(), tasks=["sums"], task_manager=manager, log_samples=True, bootstrap_iters=0)
        for name in ("strict", "digits"):
            theirs = {s["doc_id"]: s["exact_match"] for s in found["samples"]["sums"] if s["filter"] == name}
            score = scorer(settings | {"metric": f"exact_match,{name}"})
            ours = {n: score(answers[n], item).value for n, item in enumerate(items(settings))}
            assert ours == theirs

    def test_a_metric_must_be_named_where_there_are_several(self, settings: dict[str, Any]) -> None:
        with pytest.raises(UsageError, match=r"sums has several metrics; set metric to one of exact_match,strict or"):
            scorer({**settings, "metric": "exact_match"})

    def test_tasks_of_likelihoods_are_refused_with_what_to_do(self, settings: dict[str, Any]) -> None:
        with pytest.raises(
            UsageError, match=r"choices asks how likely given texts are \(multiple_choice\).*`modelcheck"
        ):
            items({**settings, "tasks": ["choices"]})

    def test_a_task_that_is_not_known(self, settings: dict[str, Any]) -> None:
        with pytest.raises(UsageError, match=r"lm-eval knows no task 'summs'; did you mean"):
            items({**settings, "tasks": ["summs"]})

    def test_a_job_gets_its_items(self, settings: dict[str, Any], tmp_path: Path) -> None:
        (tmp_path / "t.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
        (tmp_path / "a.modelcheck.toml").write_text(
            '[job.a]\nbase = "/m"\n[job.a.data]\ntrain = { path = "t.jsonl" }\n[[job.a.suite]]\nname = "s"\n'
            'role = "guard"\nmargin = 0.1\n[job.a.suite.scorer]\ntype = "lm_eval"\ntasks = ["sums"]\n'
            'metric = "exact_match,strict"\ninclude_path = "tasks"\n'
        )
        [job] = read_jobs(tmp_path / "a.modelcheck.toml").values()
        assert [item.reference for item in load(job).suites["s"]] == ["1", "2", "3", "4", "5", "6"]
