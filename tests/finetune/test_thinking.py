"""Thinking that the prompt opens: an answer that is cut in the midst of it is no answer."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from finetuning import BASE, TEMPLATE, TINY

from modelcheck.finetune.data import load
from modelcheck.finetune.evaluation import Evaluated, Evaluation
from modelcheck.finetune.job import Thinking
from modelcheck.finetune.job_file import read_jobs
from modelcheck.finetune.prompts import Prompts
from modelcheck.finetune.stage import Done

HEADER = "<|im_start|>assistant\\n"
CUT = "Let me see, 40+2 is 42, but wait"
Asks = Callable[..., Evaluated]


class Saying:
    """A worker that gives one answer to everything; `more` is what else the engine says of it."""

    def __init__(self, text: str, more: Mapping[str, Any]) -> None:
        self.versions: Mapping[str, str] = {"transformers": "5"}
        self.given = {"ids": [5], "text": text, "finish": "length", **more}

    def start(self, _: str) -> None:
        return None

    def ask(self, request: Mapping[str, Any], _: float, hear: Any) -> Done:
        hear({"event": "loaded"})
        answers = [{"key": key, **self.given} for key in request["prompts"]]
        hear({"event": "batch", "answers": answers, "done": len(answers), "total": len(answers)})
        return Done(None, 0.0)


@pytest.fixture
def asks(tmp_path: Path) -> Asks:
    """Ask one item of a model whose template writes `begun` where the answer begins; a worker answers `text`."""
    job = read_jobs(TINY / "modelcheck.toml")["tiny"]
    suite, [item, *_] = job.suites[0], load(job).suites[job.suites[0].name]
    folder = Path(shutil.copytree(BASE, tmp_path / "model"))

    def ask(begun: str, text: str, changes: Mapping[str, Any], **more: Any) -> Evaluated:
        folder.joinpath("chat_template.jinja").write_text(TEMPLATE.replace(f"{HEADER}' }}}}", f"{HEADER}{begun}' }}}}"))
        worker: Any = Saying(text, more)
        asked = replace(job, eval=replace(job.eval, **changes))
        args = asked.eval.template_args
        with Prompts(folder, template_args=args) as prompts:
            return Evaluation(asked, suite, [item], folder, tmp_path / "cache").run(worker, prompts)

    return ask


OPENED, CLOSED = r"<think>\n", r"<think>\n\n</think>\n\n"
BY_SWITCH = "' ~ ('<think>' if thinks else '') ~ '"


@pytest.mark.parametrize(
    ("begun", "text", "changes", "more", "answer"),
    [
        pytest.param(OPENED, CUT, {}, {}, "", id="cut while it thinks"),
        pytest.param(OPENED, f"{CUT}</think>42", {}, {}, "42", id="thought to the end"),
        pytest.param(OPENED, CUT, {"strip_thinking": Thinking(unclosed="keep")}, {}, CUT, id="kept by the job"),
        pytest.param(OPENED, CUT, {"strip_thinking": None}, {}, CUT, id="thinking is not cut out"),
        pytest.param(OPENED, "42", {"grammar": 'root ::= "42"'}, {}, "42", id="held to a grammar"),
        pytest.param(OPENED, "42", {}, {"apart": True}, "42", id="thinking given apart by a server"),
        pytest.param("", CUT, {}, {}, CUT, id="a model without thinking"),
        pytest.param(CLOSED, "42", {}, {}, "42", id="thinking turned off by the template"),
        pytest.param(BY_SWITCH, CUT, {"template_args": {"thinks": True}}, {}, "", id="turned on by a switch"),
        pytest.param(BY_SWITCH, CUT, {"template_args": {"thinks": False}}, {}, CUT, id="turned off by a switch"),
    ],
)
def test_an_answer_begins_where_its_thinking_ends(
    asks: Asks, begun: str, text: str, changes: dict[str, Any], more: dict[str, Any], answer: str
) -> None:
    [sample, *_] = asks(begun, text, changes, **more).samples()
    assert (sample.answer, sample.raw) == (answer, text)
