"""Real vLLM as it runs by itself, in processes of its own: how fast, how it fails, and what is left of it."""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from vllm_lane import DEFAULT, Figure, Ids, Ran, memory_of_group, rehearsed, vllm_job

from modelcheck.finetune.stage import Worker

pytestmark = pytest.mark.vllm
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TURNS = 3
Workers = dict[str, Worker]


@pytest.fixture(scope="module")
def engines(cached: object) -> Iterator[Any]:
    """The benchmark of engines."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield importlib.import_module("engines")


@pytest.fixture(scope="module")
def some(held_out: Ids) -> Ids:
    """Every third prompt: some of each kind."""
    return dict(list(held_out.items())[::3])


@pytest.fixture(scope="module")
def workers(engines: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    logs = tmp_path_factory.mktemp("engines")
    with ExitStack() as stack:
        yield {name: stack.enter_context(engines.worker(name, logs / f"{name}.log")) for name in engines.ENGINES}


def test_it_answers_as_transformers_does_and_how_fast_is_told(
    engines: Any, workers: Workers, vllm_ran: Ran, some: Ids, record_property: Figure
) -> None:
    times, equal = engines.compared(workers, vllm_ran.base, some, TURNS)
    ratio = times["vllm"] / times["transformers"]
    figures = f"{times['vllm']:.2f} s, transformers {times['transformers']:.2f} s, {ratio:.2f}x"
    record_property("figure", f"{len(some)} answers of {engines.TOKENS} tokens by the tiny base: vLLM {figures}")
    record_property("figure", f"vLLM in processes of its own: {equal} of {len(some)} are those of transformers")
    assert equal >= 0.99 * len(some)


@pytest.mark.parametrize("name", ["vllm", "transformers"])
def test_the_time_of_a_warm_request_is_measured_whole(
    name: str, engines: Any, workers: Workers, vllm_ran: Ran, some: Ids
) -> None:
    engines.answers(workers[name], vllm_ran.base, name, some)
    began = time.perf_counter()
    seconds, found = engines.answers(workers[name], vllm_ran.base, name, some)
    assert 0.8 * (time.perf_counter() - began) <= seconds
    assert all(len(ids) == engines.TOKENS for ids in found.values())


def test_its_processes_end_with_the_model(
    engines: Any, workers: Workers, vllm_ran: Ran, some: Ids, record_property: Figure
) -> None:
    worker = workers["vllm"]
    engines.answers(worker, vllm_ran.base, "vllm", some)
    assert worker._process
    leader = worker._process.pid
    at_work = memory_of_group(leader)
    worker.release()
    # Python's own keeper of shared memory ends a moment after those it keeps it for.
    deadline = time.monotonic() + 20
    while (after := memory_of_group(leader)).keys() != {leader} and time.monotonic() < deadline:
        time.sleep(0.1)
    megabytes = [round(sum(memory.values()) / 1e6) for memory in (at_work, after)]
    record_property("figure", f"vLLM's {len(at_work)} processes at work, after: {megabytes[0]} MB, {megabytes[1]} MB")
    assert len(at_work) >= 3
    assert after.keys() == {leader}
    assert megabytes[0] > megabytes[1] + 300


SAVED_WRAPPED = """
import transformers
from pathlib import Path
from safetensors.torch import load_file, save_file
real = transformers.PreTrainedModel.save_pretrained
def save(self, folder, **kwargs):
    real(self, folder, **kwargs)
    path = Path(folder, "model.safetensors")
    save_file({f"base_model.model.{name}": tensor for name, tensor in load_file(path).items()}, path, {"format": "pt"})
transformers.PreTrainedModel.save_pretrained = save
"""


def test_what_a_process_of_its_own_refused_is_told_in_that_ones_words(
    vllm_python: Path, vllm_ran: Ran, tmp_path: Path
) -> None:
    folder = vllm_job(tmp_path / "tiny", vllm_python, DEFAULT, rows=64)
    kind, text = rehearsed(folder, SAVED_WRAPPED, vllm_ran)
    assert kind == "failed"
    assert "Engine core initialization failed. See root cause above." in text
    assert "ValueError: There is no module or parameter named 'base_model' in LlamaForCausalLM" in text
    assert "what helps: the folder was saved while the model was wrapped for training" in text
    assert "wrapper-prefix: " in text
