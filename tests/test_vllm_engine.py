"""The vLLM engine without vLLM: a small double of its module stands for it. `make vllm` runs the real one."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from finetuning import BASE

from modelcheck.finetune import preflight
from modelcheck.finetune.engines import Prompt
from modelcheck.finetune.engines.seeds import seed_of
from modelcheck.finetune.identity import differences, unchecked
from modelcheck.finetune.job import Eval, Generation, Train, Vllm
from modelcheck.finetune.protocol import LibraryError, StageError

STOP = 2
VLLM = Eval(backend="vllm")
GREEDY = Generation(max_tokens=8)


class Double:
    """vLLM's `LLM` and its engine in one: every prompt is answered by its own ids, the stop token, and one id more."""

    refusal: Exception | None = None
    finish = "stop"

    def __init__(self, **arguments: Any) -> None:
        if self.refusal:
            raise self.refusal
        self.arguments, self.asked = arguments, dict[str, tuple[Any, dict[str, Any]]]()
        self.waiting, self.ended = list[str](), False
        self.model_config = SimpleNamespace(dtype="torch.float32", architecture="LlamaForCausalLM", quantization=None)
        self.llm_engine = self.renderer = self.engine_core = self

    def render_cmpl(self, prompts: list[Any]) -> list[Any]:
        return prompts

    def add_request(self, name: str, prompt: Any, params: dict[str, Any]) -> None:
        self.asked[name] = (prompt, params)
        self.waiting.append(name)

    def has_unfinished_requests(self) -> bool:
        return bool(self.waiting)

    def step(self) -> list[Any]:
        name = self.waiting.pop()
        ids = [*self.asked[name][0]["prompt_token_ids"], STOP, 7]
        completion = SimpleNamespace(token_ids=ids, finish_reason=self.finish)
        return [
            SimpleNamespace(request_id="other", finished=False),
            SimpleNamespace(request_id=name, finished=True, outputs=[completion]),
        ]

    def shutdown(self) -> None:
        self.ended = True


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The engine's module over the double."""
    double, parameters = ModuleType("vllm"), ModuleType("vllm.sampling_params")
    vars(double).update(LLM=Double, SamplingParams=dict, TokensPrompt=dict)
    vars(parameters).update(RequestOutputKind=SimpleNamespace(FINAL_ONLY="final"), StructuredOutputsParams=dict)
    monkeypatch.setitem(sys.modules, "vllm", double)
    monkeypatch.setitem(sys.modules, "vllm.sampling_params", parameters)
    yield importlib.import_module("modelcheck.finetune.engines.vllm")
    del sys.modules["modelcheck.finetune.engines.vllm"]


def engine(module: Any, vllm: Vllm | None = None, grammar: str | None = None) -> Any:
    """The engine as a job opens it."""
    options = Eval(backend="vllm", vllm=vllm or Vllm(), grammar=grammar).engine
    assert options.pop("backend") == "vllm"
    return module.Engine(str(BASE), "float32", **options)


def asked(module: Any, gen: Generation = GREEDY) -> Any:
    """The double after three prompts, and the answers."""
    made = engine(module)
    prompts = {f"item-{n} 0": Prompt(ids) for n, ids in enumerate([[10, 11], [12], [13, 14, 15]])}
    batches = list(made.answers(prompts, gen, [STOP]))
    return made._llm, {answer.key: answer for batch in batches for answer in batch}


# ------------------------------------------------------------------ what vLLM is told


def test_settings_reach_vllm_and_what_is_left_out_is_left_to_it(module: Any) -> None:
    settings = Vllm(max_model_len=64, enforce_eager=True, tensor_parallel_size=2, args={"quantization": "fp8"})
    told = engine(module, settings)._llm.arguments
    assert told == {
        "model": str(BASE),
        "dtype": "float32",
        "seed": 0,
        "generation_config": "vllm",
        "max_model_len": 64,
        "enforce_eager": True,
        "enable_prefix_caching": True,
        "tensor_parallel_size": 2,
        "quantization": "fp8",
    }


@pytest.mark.parametrize("name", ["model", "generation_config", "max_model_len"])
def test_what_the_job_says_elsewhere_is_not_said_again(module: Any, name: str) -> None:
    with pytest.raises(StageError, match=rf"eval\.vllm\.args sets what the job says elsewhere: {name} \(say "):
        engine(module, Vllm(args={name: "x"}))


def test_every_sampling_parameter_is_pinned(module: Any) -> None:
    gen = Generation(temperature=0.7, top_p=0.9, top_k=40, min_p=0.1, repetition_penalty=1.1, stop=("\n",), seed=3)
    double, _ = asked(module, gen)
    params = double.asked["item-1 0"][1]
    said = {name: value for name, value in asdict(gen).items() if name not in ("stop", "seed")}
    assert {name: params[name] for name in said} == said
    assert (params["stop"], params["detokenize"], params["stop_token_ids"]) == (["\n"], True, [STOP])
    # The checkpoint's own EOS ends nothing: the stop ids of the job do.
    assert (params["ignore_eos"], params["n"], params["min_tokens"]) == (True, 1, 0)
    assert (params["presence_penalty"], params["frequency_penalty"], params["logit_bias"]) == (0.0, 0.0, None)


def test_a_grammar_reaches_every_answer(module: Any) -> None:
    made = engine(module, grammar='root ::= "yes" | "no"')
    list(made.answers({"item 0": Prompt([10])}, GREEDY, [STOP]))
    assert made._llm.asked["item 0"][1]["structured_outputs"] == {"grammar": 'root ::= "yes" | "no"'}


def test_each_answer_has_a_seed_of_its_own(module: Any) -> None:
    double, _ = asked(module, replace(GREEDY, seed=5))
    seeds = {name: params["seed"] for name, (_, params) in double.asked.items()}
    assert seeds == {name: seed_of(name, 5) for name in seeds}
    assert len(set(seeds.values())) == 3


# ------------------------------------------------------------------ what it answers


def test_prompts_go_in_as_ids_and_answers_end_before_the_stop_token(module: Any) -> None:
    double, answers = asked(module)
    assert double.asked["item-2 0"][0] == {"prompt_token_ids": [13, 14, 15]}
    assert {key: (answer.ids, answer.finish) for key, answer in answers.items()} == {
        "item-0 0": ([10, 11], "stop"),
        "item-1 0": ([12], "stop"),
        "item-2 0": ([13, 14, 15], "stop"),
    }


def test_an_answer_that_vllm_gave_up_is_no_answer(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Double, "finish", "abort")
    with pytest.raises(LibraryError, match="ended an answer with 'abort'"):
        asked(module)


def test_a_refusal_is_told_in_vllms_own_words(
    module: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Double, "refusal", ValueError("No available memory for the cache blocks."))
    with pytest.raises(LibraryError, match=r"vLLM cannot load .*: ValueError: No available memory for the cache"):
        engine(module)
    assert "Traceback" in capfd.readouterr().err


def test_closing_ends_vllms_own_processes(module: Any) -> None:
    made = engine(module)
    made.close()
    assert made._llm.ended


# ------------------------------------------------------------------ what was loaded


def test_files_stand_for_the_weights_that_vllm_does_not_show(module: Any) -> None:
    evaluated = engine(module).identity
    trained = {**evaluated, "weights": "1f", "folder": "elsewhere"}
    assert evaluated["weights"] is None
    assert differences(evaluated, trained) == []
    assert unchecked(evaluated, trained) == (
        "the weights of the two bases were compared as files, not as they lie in memory"
    )
    other = {**trained, "files": {"model.safetensors": "00"}}
    assert differences(evaluated, other) == [f"weight files: evaluated {BASE}, trained elsewhere"]
    assert "could not be compared" in str(unchecked({**evaluated, "files": {}}, trained))
    assert unchecked(trained, trained) is None


def test_answers_of_another_version_are_another_comparison() -> None:
    sized = Eval(backend="vllm", vllm=Vllm(gpu_memory_utilization=0.5, args={"quantization": "fp8"}))
    assert sized.computing == {"backend": "vllm", "max_model_len": None, "args": {"quantization": "fp8"}}
    assert Eval().computing == {"backend": "transformers"}


def test_an_interpreter_without_vllm_fails_before_anything_runs() -> None:
    def worker(**versions: str) -> Any:
        return SimpleNamespace(start=lambda stage: None, versions=versions)

    def problems(python: str | None, evaluating: Any) -> list[str]:
        job: Any = SimpleNamespace(name="tiny", eval=replace(VLLM, python=python), train=Train())
        return list(preflight.stages(job, worker(**dict.fromkeys(preflight.TRAINING, "999")), evaluating))

    [problem] = problems(None, worker(torch="2"))
    # Not into the environment that they have: there, it would change what trainers need.
    assert problem.startswith(
        'eval: its interpreter lacks vllm: set [job.tiny.eval] python = "~/vllm/bin/python", an environment of its own'
    )
    [problem] = problems("/opt/vllm/bin/python", worker(torch="2"))
    assert problem == "eval: its interpreter lacks vllm: install vllm for it, or name another one by eval.python"
    assert problems(None, worker(vllm="0.32.0")) == []
