"""Many targets: in processes of this machine or on a Dask cluster, both through joblib, one task a target.

Reports come in the order of the targets, each when it and those before it are there, so that two runs print the same.
A report that waits holds up no process: the next target is begun meanwhile. A worker that dies takes the tasks in
flight with it, and nobody says whose fault it was: the next few targets are then linted one at a time, so that the one
that kills is found and reported.
"""

from __future__ import annotations

import functools
import pickle
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from modelcheck.engine import Linter, Options
from modelcheck.errors import UsageError
from modelcheck.fleet_backends import cluster, processes
from modelcheck.report import TargetReport
from modelcheck.sources.opening import kind
from modelcheck.sources.setup import Base

INSTALL = "pip install 'modelcheck[fleet]'"
# How long a scheduler may take to answer, in seconds.
PATIENCE = 10


def lint_many(
    targets: Sequence[str], options: Options, jobs: int, scheduler: str | None = None
) -> Iterator[TargetReport]:
    """Lint targets in `jobs` processes or, with a scheduler's address, on all workers of its cluster.

    Raises UsageError for wrong options, a missing package, and a scheduler that does not answer.
    """
    options.checks(), options.given(base=Base())  # a base that cannot be read is said of each target
    if find_spec("joblib") is None:
        raise UsageError(f"linting several targets at a time needs joblib: {INSTALL}")
    if scheduler is None:
        work = functools.partial(_lint, options=pickle.dumps(options))
        return over(targets, work, max(2, min(jobs, len(targets))), processes(_ignore_interrupts))
    return _on_cluster(targets, options, scheduler)


def over(
    targets: Sequence[str], work: Callable[[str], TargetReport], jobs: int, backend: Any
) -> Iterator[TargetReport]:
    """`work` on each target, the reports in order; a target that kills its worker, or cannot be sent, is reported."""
    alone = 0
    done = 0
    try:
        while done < len(targets):
            part = targets[done : done + 1] if alone else targets[done:]
            alone = max(0, alone - 1)
            try:
                for report in _reports(part, work, jobs, backend):
                    done += 1
                    yield report
            except Exception as death:
                if len(part) == 1:
                    done += 1
                    yield TargetReport(
                        part[0], "folder", internal=[f"internal error: the worker died: {_brief(death)}"]
                    )
                else:
                    alone = 2 * jobs
    finally:
        backend.terminate()


def _reports(
    targets: Sequence[str], work: Callable[[str], TargetReport], jobs: int, backend: Any
) -> Iterator[TargetReport]:
    from joblib import Parallel, delayed, parallel_config

    # Who stops in the middle knows it.
    warnings.filterwarnings("ignore", r".*tasks (which|have)", UserWarning)
    with parallel_config(n_jobs=jobs, backend=backend):
        yield from Parallel(return_as="generator", batch_size=1)(delayed(work)(target) for target in targets)


def _lint(target: str, options: bytes) -> TargetReport:
    return _linter(options).lint(target)


@functools.lru_cache(maxsize=1)
def _linter(options: bytes) -> Linter:
    """This worker's, for all targets that it gets. Its renderer ends with the worker."""
    return Linter(pickle.loads(options))  # noqa: S301  what the parent process wrote


def _ignore_interrupts() -> None:
    # Ctrl-C goes to all processes of a terminal; the parent ends its workers itself, without a word from them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _brief(death: Exception) -> str:
    return f"{type(death).__name__}: {str(death).strip().partition(chr(10))[0]}"


def _on_cluster(targets: Sequence[str], options: Options, scheduler: str) -> Iterator[TargetReport]:
    if find_spec("distributed") is None:
        raise UsageError(f"--backend dask needs distributed: {INSTALL}")
    from distributed import Client
    from distributed.comm.addressing import get_address_host_port

    try:
        get_address_host_port(scheduler)  # a client that was never one complains at the end
        client = Client(scheduler, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"--scheduler {scheduler}: does not answer: {_brief(error)}") from None
    with client:
        jobs = sum(client.ncores().values())
        if not jobs:
            raise UsageError(f"--scheduler {scheduler}: has no workers")
        work = functools.partial(_lint, options=pickle.dumps(_anywhere(options)))
        reports = over([_place(target) for target in targets], work, jobs, cluster(client))
        for target, report in zip(targets, reports, strict=True):
            report.target = target
            yield report


def _anywhere(options: Options) -> Options:
    """The options for workers whose current folder may be another."""
    files = options.lora, options.chat_template, options.data, options.grammar
    lora, chat_template, data, grammar = (path and str(Path(path).absolute()) for path in files)
    base = options.base and _place(options.base)
    return replace(options, lora=lora, chat_template=chat_template, data=data, grammar=grammar, base=base)


def _place(target: str) -> str:
    """Where a folder or file lies. In another folder its name could be a hub id."""
    return str(Path(target).absolute()) if target and kind(target) != "hub" else target
