"""Answers by transformers' `generate`, with nothing left to the checkpoint's own generation defaults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from modelcheck.errors import UsageError
from modelcheck.finetune.engines.answer import Answer, Prompt, read
from modelcheck.finetune.engines.sampling import processors
from modelcheck.finetune.grammar.constraint import Constraint, spelling
from modelcheck.finetune.identity import identity
from modelcheck.finetune.job import Generation
from modelcheck.finetune.protocol import StageError
from modelcheck.grammar import load

LARGEST_BATCH = 64


class Engine:
    """A checkpoint folder (or hub id) that answers prompts of token ids.

    `batch_size` of `auto` is halved for as long as memory does not suffice. Answers are texts of `grammar`, if given.
    """

    def __init__(
        self,
        folder: str,
        dtype: str,
        batch_size: int | str = "auto",
        grammar: str | None = None,
        grammar_backend: str = "transformers-cfg",
    ) -> None:
        self._batch_size, self._grammar, self._grammar_backend = batch_size, grammar, grammar_backend
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
            loaded: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
        except (OSError, ValueError) as error:
            raise StageError(f"{folder} cannot be loaded for evaluation: {error}") from error
        self.model = loaded.to("cuda" if torch.cuda.is_available() else "cpu").eval()
        self.identity = identity(self.model, self.tokenizer)
        # generate() fills what a call leaves open from here: leave nothing.
        self.model.generation_config = GenerationConfig()  # type: ignore[no-untyped-call]

    def answers(
        self, prompts: Mapping[str, Prompt], gen: Generation, stop_ids: Sequence[int]
    ) -> Iterator[list[Answer]]:
        """Answers in batches, the longest prompts first."""
        waiting = sorted(prompts, key=lambda key: -len(prompts[key].ids))
        size = LARGEST_BATCH if self._batch_size == "auto" else int(self._batch_size)
        constraint = self._constraint(stop_ids)
        while waiting:
            keys = waiting[:size]
            try:
                found = self._batch(keys, [prompts[key].ids for key in keys], gen, stop_ids, constraint)
            except UsageError as error:
                raise StageError(f"eval.grammar: {error}") from None
            except torch.OutOfMemoryError:
                if self._batch_size != "auto" or size == 1:
                    raise StageError(
                        f"{size} prompts at a time do not fit into memory: set eval.batch_size lower"
                    ) from None
                torch.cuda.empty_cache()
                size //= 2
                continue
            yield found
            waiting = waiting[len(keys) :]

    def _constraint(self, stop_ids: Sequence[int]) -> Constraint | None:
        if self._grammar is None:
            return None
        try:
            return Constraint.of(load(self._grammar), spelling(self.tokenizer), stop_ids, self._grammar_backend)
        except UsageError as error:
            raise StageError(f"eval.grammar: {error}") from None

    def _batch(
        self,
        keys: Sequence[str],
        prompts: Sequence[Sequence[int]],
        gen: Generation,
        stop_ids: Sequence[int],
        constraint: Constraint | None,
    ) -> list[Answer]:
        width = max(map(len, prompts))
        # What pads is masked out: any id does.
        ids = torch.tensor([[0] * (width - len(p)) + list(p) for p in prompts], device=self.model.device)
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=self.model.device)
        with torch.inference_mode():
            output = self.model.generate(
                input_ids=ids,
                attention_mask=mask,
                generation_config=pinned(gen, stop_ids),
                logits_processor=processors(
                    gen, keys, self.model.device, [constraint.processor()] if constraint else []
                ),
                **({"tokenizer": self.tokenizer} if gen.stop else {}),
            )
        rows = output[:, width:].tolist()
        return [read(key, row, self.tokenizer, gen.stop, stop_ids) for key, row in zip(keys, rows, strict=True)]

    def close(self) -> None:
        """Everything is in this process."""


def pinned(gen: Generation, stop_ids: Sequence[int]) -> GenerationConfig:
    """A generation config that leaves nothing open. Drawing is done by our own processors, so search is greedy."""
    return GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=gen.max_tokens,
        do_sample=False,
        num_beams=1,
        num_return_sequences=1,
        repetition_penalty=gen.repetition_penalty,
        encoder_repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        min_new_tokens=0,
        eos_token_id=list(stop_ids) or None,
        pad_token_id=stop_ids[0] if stop_ids else 0,
        stop_strings=list(gen.stop) or None,
        use_cache=True,
    )
