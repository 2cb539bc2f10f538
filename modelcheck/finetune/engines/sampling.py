"""Sampling whose draws belong to the item, not to the batch: a resumed or regrouped run gives the same answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import LogitsProcessor, LogitsProcessorList
from transformers.generation import logits_process as warpers

from modelcheck.finetune.engines.seeds import seed_of
from modelcheck.finetune.job import Generation


class Draw(LogitsProcessor):
    """Turns greedy search into sampling: Gumbel noise, drawn from a generator of each row, is added to the logits.

    The largest of logits plus Gumbel noise is a draw from their softmax.
    """

    def __init__(self, seeds: Sequence[int], device: Any) -> None:
        import torch

        self._generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Any, scores: Any) -> Any:  # noqa: ARG002  transformers' signature
        """The scores of a batch with the noise of each row."""
        import torch

        noise = torch.stack(
            [torch.empty(scores.shape[-1], device=g.device).exponential_(generator=g) for g in self._generators]
        )
        return scores.float() - noise.clamp_min(torch.finfo(torch.float32).tiny).log()


def processors(
    gen: Generation, keys: Sequence[str], device: Any, first: Sequence[LogitsProcessor] = ()
) -> LogitsProcessorList:
    """What stands between logits and choice for a batch, in transformers' own order; nothing more when greedy.

    `first` says which tokens there are to choose among.
    """
    chain = LogitsProcessorList(first)
    if gen.greedy:
        return chain
    chain.append(warpers.TemperatureLogitsWarper(gen.temperature))
    if gen.top_k > 0:
        chain.append(warpers.TopKLogitsWarper(gen.top_k))
    if gen.top_p < 1:
        chain.append(warpers.TopPLogitsWarper(gen.top_p))
    if gen.min_p > 0:
        chain.append(warpers.MinPLogitsWarper(gen.min_p))
    chain.append(Draw([seed_of(key, gen.seed) for key in keys], device))
    return chain
