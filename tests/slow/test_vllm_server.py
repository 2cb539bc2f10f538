"""vLLM's own server, on a CPU: the tiny job's two models through it, by token ids and by messages."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from finetuning import GREEDY, TEMPLATE, conversations
from vllm_lane import IN_PROCESS, Figure, Ids, Ran, answers, hold_against

from modelcheck.finetune.chat import Endpoint
from modelcheck.finetune.data import load
from modelcheck.finetune.engines import Prompt
from modelcheck.finetune.engines.openai import Engine
from modelcheck.finetune.evaluation import Evaluated, Evaluation
from modelcheck.finetune.job import OpenAi, Serve
from modelcheck.finetune.job_file import read_jobs
from modelcheck.finetune.prompts import Prompts
from modelcheck.finetune.protocol import StageError
from modelcheck.finetune.stage import Worker
from modelcheck.finetune.stages import generation
from modelcheck.finetune.workers import Workers

pytestmark = pytest.mark.vllm
HERE = {"backend": "transformers"}
END = 2
# The tiny template has no arguments, so that it heeds them is not seen.
ABILITIES = {"logprobs": True, "json_schema": True, "grammar": "structured_outputs", "chat_template_kwargs": None}
# The second server shares its requests between two engines.
REPLICAS = {"base": "1", "tuned": "2"}


class ByMessages(Engine):
    """An engine to which servers seem to take no prompts of token ids."""

    def _by_ids(self, *_: object) -> None:
        return None


def ids_of(folder: Path, chats: Iterable[Any]) -> list[list[int]]:
    """The prompts of conversations, as a job with this checkpoint makes them."""
    with Prompts(folder) as made:
        return made.ids(chats)


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with Workers() as running:
        yield running


@pytest.fixture(scope="module")
def evaluated(vllm_python: Path, vllm_ran: Ran, workers: Workers, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The evaluation of a side, all suites, by vLLM's server, which stays until another is asked for."""
    place = tmp_path_factory.mktemp("served")
    [job] = read_jobs(vllm_ran.folder / "modelcheck.toml").values()
    words = [str(vllm_python), "-m", "vllm.entrypoints.openai.api_server", "--model", "{model}", "--port", "{port}"]
    words += ["--dtype", "float32", "--enforce-eager", "--max-model-len", "128", "--max-num-seqs", "64"]
    words += ["--generation-config", "vllm", "--host", "127.0.0.1", "--data-parallel-size"]

    def run(side: str) -> list[Evaluated]:
        server = OpenAi(Endpoint("", "{model}"), Serve((*words, REPLICAS[side]), IN_PROCESS))
        by_server = dataclasses.replace(job.eval, backend="openai", openai=server, python=None)
        made, folder = dataclasses.replace(job, eval=by_server), getattr(vllm_ran, side)
        suites, worker = load(made).suites, workers.of(made.eval, place / "logs")
        with Prompts(folder) as rendered:
            asked = [Evaluation(made, suite, suites[suite.name], folder, place / "cache") for suite in made.suites]
            return [evaluation.run(worker, rendered) for evaluation in asked]

    return run


@pytest.mark.parametrize("side", REPLICAS)
def test_it_answers_as_transformers_does(
    side: str, vllm_ran: Ran, held_out: Ids, evaluated: Any, transformers: Worker, record_property: Figure
) -> None:
    folder: Path = getattr(vllm_ran, side)
    runs = evaluated(side)
    theirs = answers(transformers, folder, held_out, engine=HERE)
    by_ids = {tuple(ids): key for key, ids in held_out.items()}
    with Prompts(folder) as made:
        ours = {
            by_ids[sample.prompt_ids]: {
                "ids": made.tokenizer.encode(sample.raw),
                "finish": "stop" if sample.stopped else "length",
            }
            for run in runs
            for sample in run.samples()
        }
    hold_against(f"vLLM's server, {side}, replicas: {REPLICAS[side]}", folder, held_out, ours, theirs, record_property)
    for run in runs:
        assert run.loaded["prompts"] == {"sent": "ids", "checked": "ids"}
        assert run.loaded["answer_ids"] == "the server's"
        assert run.loaded["abilities"] == {**ABILITIES, "token_ids": True}
        assert run.loaded["notes"] == []


def test_what_it_makes_of_messages_is_read_back(
    vllm_ran: Ran, workers: Workers, evaluated: Any, transformers: Worker, tmp_path: Path
) -> None:
    evaluated("tuned")
    assert workers._servers._running
    url = workers._servers._running[1].url
    chats = {str(n): chat[:1] for n, chat in enumerate(conversations("guard-copy", 20))}

    def asked(folder: Path) -> Mapping[str, Any]:
        ids = dict(zip(chats, ids_of(folder, chats.values()), strict=True))
        put = {key: Prompt(ids[key], chats[key]) for key in chats}
        endpoint = {"base_url": url, "model": str(vllm_ran.tuned)}
        with closing(ByMessages(str(folder), "float32", endpoint, direct=True)) as engine:
            found = [answer for batch in engine.answers(put, generation(GREEDY), [END]) for answer in batch]
        theirs = answers(transformers, vllm_ran.tuned, ids, engine=HERE)
        assert {answer.key: answer.ids for answer in found} == {key: theirs[key]["ids"] for key in theirs}
        return engine.identity

    identity = asked(vllm_ran.tuned)
    assert identity["prompts"] == {"sent": "messages", "checked": "ids"}
    assert identity["notes"] == []
    other = Path(shutil.copytree(vllm_ran.tuned, tmp_path / "other"))
    (other / "chat_template.jinja").write_text(TEMPLATE.replace("message.content + ", "' ' + message.content + "))
    with pytest.raises(StageError) as raised:
        asked(other)
    theirs, ours = (ids_of(folder, [chats["0"]])[0] for folder in (vllm_ran.tuned, other))
    at = next(at for at, (a, b) in enumerate(zip(theirs, ours, strict=False)) if a != b)
    message = str(raised.value)
    assert "the server renders another prompt than training did" in message
    assert f"at token {at} " in message
    assert f" ({theirs[at]}) for " in message
    assert f" ({ours[at]}); serve it with the chat template that it was trained with" in message
