"""Real vLLM, on a CPU, in its own environment: what it answers, what it refuses, and what it gives back."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from finetuning import GREEDY
from vllm_lane import (
    ENGINE,
    IN_PROCESS,
    PRELOAD,
    Figure,
    Ids,
    Ran,
    answers,
    hold_against,
    memory_of_group,
    rehearsed,
    vllm_job,
)
from whole_job import STEPS

from modelcheck.finetune.grammar.recognize import Recognizer
from modelcheck.finetune.job import Generation
from modelcheck.finetune.stage import Worker
from modelcheck.grammar import load as read_grammar

pytestmark = pytest.mark.vllm
HOT = {**GREEDY, "temperature": 1.0, "top_p": 0.95, "top_k": 50, "min_p": 0.01}
HERE = {"backend": "transformers"}


@pytest.fixture(scope="module")
def vllm(vllm_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    with Worker(tmp_path_factory.mktemp("vllm") / "vllm.log", str(vllm_python), IN_PROCESS, PRELOAD) as worker:
        yield worker


def test_the_tiny_job_passes_when_vllm_answers(vllm_ran: Ran) -> None:
    assert [*vllm_ran.steps] == STEPS
    assert {name: told for name, told in vllm_ran.steps.items() if told[0] != "passed"} == {}
    made = vllm_ran.folder / ".modelcheck" / "tiny"
    manifest = json.loads((made / "base" / "last" / "manifest.json").read_text())
    assert manifest["engine"] == {"backend": "vllm", "version": "0.32.0", "max_model_len": 128, "args": {}}
    assert json.loads((made / "env.json").read_text())["stages"]["eval"]["vllm"] == "0.32.0"


@pytest.mark.parametrize(("side", "dtype"), [("base", "float32"), ("tuned", "float32"), ("tuned", "bfloat16")])
def test_greedy_answers_are_those_of_transformers(
    side: str, dtype: str, vllm_ran: Ran, held_out: Ids, vllm: Worker, transformers: Worker, record_property: Figure
) -> None:
    folder: Path = getattr(vllm_ran, side)
    ours = answers(vllm, folder, held_out, engine=ENGINE, dtype=dtype)
    theirs = answers(transformers, folder, held_out, engine=HERE, dtype=dtype)
    hold_against(f"vLLM, {side}, {dtype}", folder, held_out, ours, theirs, record_property, dtype)


@pytest.mark.parametrize("grammar", ['root ::= "yes" | "no"', 'root ::= "score=" [0-9] [0-9]? ";"'])
def test_answers_are_held_to_a_grammar(grammar: str, vllm_ran: Ran, held_out: Ids, vllm: Worker) -> None:
    read, some = read_grammar(grammar), dict(list(held_out.items())[:50])
    found = answers(vllm, vllm_ran.base, some, engine={**ENGINE, "grammar": read.text})
    conforms = Recognizer(read).conforms
    assert [answer["text"] for answer in found.values() if not conforms(answer["text"])] == []


def test_a_sampled_answer_belongs_to_its_item(vllm_ran: Ran, held_out: Ids, vllm: Worker) -> None:
    together = answers(vllm, vllm_ran.base, dict(list(held_out.items())[:40]), engine=ENGINE, gen=HOT)
    few = {key: held_out[key] for key in ("31", "7", "12")}
    assert answers(vllm, vllm_ran.base, few, engine=ENGINE, gen=HOT) == {key: together[key] for key in few}


def test_stop_texts_and_lengths_end_an_answer_as_in_transformers(
    vllm_ran: Ran, held_out: Ids, vllm: Worker, transformers: Worker
) -> None:
    few = {key: held_out[key] for key in list(held_out)[-8:]}
    gen = dataclasses.asdict(Generation(max_tokens=3, stop=(" ",), repetition_penalty=1.3))
    ours = answers(vllm, vllm_ran.base, few, engine=ENGINE, gen=gen)
    theirs = answers(transformers, vllm_ran.base, few, engine=HERE, gen=gen)
    ends = {key: (found["text"], found["finish"]) for key, found in ours.items()}
    assert ends == {key: (found["text"], found["finish"]) for key, found in theirs.items()}
    assert {finish for _, finish in ends.values()} == {"stop", "length"}


def test_the_memory_of_an_engine_is_given_back(
    vllm_ran: Ran, held_out: Ids, vllm: Worker, record_property: Figure
) -> None:
    found = []
    answers(vllm, vllm_ran.base, dict(list(held_out.items())[:4]), engine=ENGINE)
    assert vllm._process
    found.append(memory_of_group(vllm._process.pid))
    vllm.release()
    found.append(memory_of_group(vllm._process.pid))
    at_work, after = (round(sum(memory.values()) / 1e6) for memory in found)
    record_property("figure", f"vLLM's processes at work and after: {at_work} MB, {after} MB")
    # vLLM is imported before the first fork: that stays.
    assert found[1].keys() == {vllm._process.pid}
    assert at_work > after + 300


SAVED_WRAPPED = """
import json, transformers
from pathlib import Path
real = transformers.PreTrainedModel.save_pretrained
def save(self, folder, **kwargs):
    real(self, folder, **kwargs)
    config = Path(folder, "config.json")
    config.write_text(config.read_text().replace("LlamaForCausalLM", "FSDPLlamaForCausalLM"))
transformers.PreTrainedModel.save_pretrained = save
"""


def test_a_folder_that_vllm_refuses_fails_at_rehearse(vllm_python: Path, vllm_ran: Ran, tmp_path: Path) -> None:
    folder = vllm_job(tmp_path / "tiny", vllm_python, IN_PROCESS, rows=64)
    kind, text = rehearsed(folder, SAVED_WRAPPED, vllm_ran)
    assert kind == "failed"
    assert "Model architectures ['FSDPLlamaForCausalLM'] are not supported for now" in text
    assert "what helps: name a class that vLLM has" in text
    assert "error SRV001 vllm-architecture" in text
    assert not list((folder / ".modelcheck" / "tiny").glob("run-*"))
