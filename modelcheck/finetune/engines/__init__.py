"""What answers prompts. One engine for both sides of a comparison, found by name through one table.

Engines are opened inside a stage's own process; naming them imports nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol, cast

from modelcheck.finetune.engines.answer import Answer, Prompt
from modelcheck.finetune.job import Generation

# {backend of a job: the module whose class `Engine` it is}.
ENGINES: Mapping[str, str] = {
    "transformers": "modelcheck.finetune.engines.transformers",
    "openai": "modelcheck.finetune.engines.openai",
    "vllm": "modelcheck.finetune.engines.vllm",
}
__all__ = ["ENGINES", "Answer", "Engine", "Prompt", "open_engine"]


class Engine(Protocol):
    """A checkpoint that answers. Made as `Engine(folder, dtype, **options)`; raises StageError where it cannot be.

    `identity` is what was really loaded (`modelcheck.finetune.identity`), complete with the first answers.
    """

    identity: Mapping[str, Any]

    def answers(
        self, prompts: Mapping[str, Prompt], gen: Generation, stop_ids: Sequence[int]
    ) -> Iterator[list[Answer]]:
        """The answers by the key of their prompt, in batches and in any order. Raises StageError."""

    def close(self) -> None:
        """End whatever runs outside this process."""


def open_engine(folder: str | None, dtype: str, settings: Mapping[str, Any]) -> Engine:
    """The engine that `settings` describe (`Eval.engine`), with the model in `folder` or of that hub id.

    There is no folder where the settings name another model behind a server.
    """
    options = dict(settings)
    module = import_module(ENGINES[options.pop("backend")])
    return cast("Engine", module.Engine(folder, dtype, **options))
