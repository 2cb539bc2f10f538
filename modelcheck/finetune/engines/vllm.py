"""Answers by vLLM's offline engine, with nothing left to the checkpoint's own generation defaults.

Prompts go in as token ids and ids come out: the text is decoded here, as every other engine's is. Written for the API
of vLLM 0.32.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer
from vllm import LLM, SamplingParams, TokensPrompt
from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

from modelcheck.finetune.engines.answer import Answer, Prompt, read
from modelcheck.finetune.engines.seeds import seed_of
from modelcheck.finetune.identity import identity_of_files
from modelcheck.finetune.job import Generation
from modelcheck.finetune.protocol import LibraryError, StageError

# What the job says elsewhere: {argument of LLM: key of the job}.
SAID_ELSEWHERE = {
    "model": "base",
    "dtype": "dtype",
    "tokenizer": "base",
    "skip_tokenizer_init": "nothing: ids are decoded here",
    "generation_config": "eval.gen",
    "seed": "eval.gen.seed",
}
ENDS = ("stop", "length")


class Engine:
    """A checkpoint folder (or hub id) that vLLM has loaded.

    `settings` and `args` are arguments of vLLM's `LLM`; what is None is left to vLLM. Several replicas
    (`data_parallel_size`) are the business of vLLM's server: `LLM` refuses them. `grammar` is what answers are held to.
    """

    def __init__(
        self,
        folder: str,
        dtype: str,
        args: Mapping[str, Any] | None = None,
        grammar: str | None = None,
        **settings: Any,
    ) -> None:
        self._grammar = grammar
        given = {name: value for name, value in settings.items() if value is not None}
        args = args or {}
        if twice := sorted(args.keys() & (SAID_ELSEWHERE.keys() | settings.keys())):
            said = ", ".join(f"{name} (say {SAID_ELSEWHERE.get(name, f'eval.vllm.{name}')})" for name in twice)
            raise StageError(f"eval.vllm.args sets what the job says elsewhere: {said}")
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
            self._llm = LLM(model=folder, dtype=dtype, seed=0, generation_config="vllm", **given, **args)
        except Exception as error:
            raise _refused(f"vLLM cannot load {folder}", error) from error
        config = self._llm.model_config
        self.identity = identity_of_files(Path(folder), self.tokenizer) | {
            "dtype": str(config.dtype).removeprefix("torch."),
            "class": config.architecture,
            "quantized": config.quantization is not None,
        }

    def answers(
        self, prompts: Mapping[str, Prompt], gen: Generation, stop_ids: Sequence[int]
    ) -> Iterator[list[Answer]]:
        """Answers as they are finished; vLLM makes the batches."""
        engine = self._llm.llm_engine
        try:
            asked = [TokensPrompt(prompt_token_ids=list(prompt.ids)) for prompt in prompts.values()]
            for key, inputs in zip(prompts, self._llm.renderer.render_cmpl(asked), strict=True):
                engine.add_request(key, inputs, pinned(gen, stop_ids, seed_of(key, gen.seed), self._grammar))
            while engine.has_unfinished_requests():
                ended = [output for output in engine.step() if output.finished]
                if ended:
                    yield [self._answer(output.request_id, output.outputs[0], gen, stop_ids) for output in ended]
        except StageError:
            raise
        except Exception as error:
            raise _refused("vLLM cannot answer", error) from error

    def _answer(self, key: str, completion: Any, gen: Generation, stop_ids: Sequence[int]) -> Answer:
        if completion.finish_reason not in ENDS:
            raise LibraryError(f"vLLM ended an answer with {completion.finish_reason!r}, expected stop or length")
        return read(key, completion.token_ids, self.tokenizer, gen.stop, stop_ids)

    def close(self) -> None:
        """End vLLM's own processes, where it has any."""
        self._llm.llm_engine.engine_core.shutdown()


def pinned(gen: Generation, stop_ids: Sequence[int], seed: int, grammar: str | None = None) -> SamplingParams:
    """The sampling parameters of one answer, none of them left open. Only `stop_ids` and `gen.stop` end it."""
    return SamplingParams(
        n=1,
        temperature=gen.temperature,
        top_p=gen.top_p,
        top_k=gen.top_k,
        min_p=gen.min_p,
        repetition_penalty=gen.repetition_penalty,
        presence_penalty=0.0,
        frequency_penalty=0.0,
        logit_bias=None,
        allowed_token_ids=None,
        bad_words=None,
        structured_outputs=StructuredOutputsParams(grammar=grammar) if grammar else None,
        seed=seed,
        max_tokens=gen.max_tokens,
        min_tokens=0,
        ignore_eos=True,
        stop_token_ids=list(stop_ids),
        stop=list(gen.stop),
        include_stop_str_in_output=False,
        # Texts are looked at for stop strings only.
        detokenize=bool(gen.stop),
        skip_special_tokens=False,
        spaces_between_special_tokens=False,
        logprobs=None,
        prompt_logprobs=None,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def _refused(what: str, error: Exception) -> LibraryError:
    traceback.print_exc()
    return LibraryError(f"{what}: {type(error).__name__}: {error}")
