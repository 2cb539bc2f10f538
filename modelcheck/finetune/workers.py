"""The worker processes of a session: libraries are imported once for all of its jobs and steps."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Protocol

from modelcheck.finetune.engines import ENGINES
from modelcheck.finetune.serving.worker import ServedWorker, Servers
from modelcheck.finetune.stage import Worker

# What a worker imports before it serves its first stage: the stages themselves, with all that they need.
PRELOADED = (
    "modelcheck.finetune.stages",
    "modelcheck.finetune.engines.transformers",
    "modelcheck.finetune.trainers.audit",
    "modelcheck.finetune.rehearse",
    "modelcheck.finetune.artifact",
)
# An interpreter of vLLM's knows nothing of trainers.
PRELOADED_BY = {"vllm": (PRELOADED[0], ENGINES["vllm"])}


class Place(Protocol):
    """Where a stage runs: its interpreter (None for ours), what is laid over our environment, and what it runs."""

    @property
    def backend(self) -> str:
        """A trainer or an engine."""

    @property
    def python(self) -> str | None:
        """The interpreter."""

    @property
    def env(self) -> Mapping[str, str]:
        """Variables and their values."""


class Workers:
    """One worker for each interpreter and environment, started when it is first asked; a context manager.

    `ahead` allows them to import before anything is asked: not where several processes share one job.
    """

    def __init__(self, *, ahead: bool = True) -> None:
        self._ahead = ahead
        self._stack, self._servers = ExitStack(), Servers()
        self._known: dict[tuple[object, ...], Worker] = {}

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def of(self, place: Place, logs: Path) -> Worker:
        """The worker of a place; if it is new, it prints into a file in the folder `logs`."""
        preload = PRELOADED_BY.get(place.backend, PRELOADED)
        key = (place.python, preload, *sorted(place.env.items()))
        if key not in self._known:
            log = logs / f"worker-{len(self._known)}.log"
            worker = ServedWorker(self._servers, log, place.python, place.env, preload)
            self._known[key] = self._stack.enter_context(worker)
        return self._known[key]

    def expect(self, *places: Worker) -> None:
        """Questions to these workers will come soon."""
        for worker in set(places) if self._ahead else ():
            worker.expect()

    def close(self) -> None:
        """End all of them, and the servers that they had started."""
        self._servers.close()
        self._stack.close()
        self._known.clear()
