"""joblib's backends with the manners that linting needs. joblib is imported when one is asked for."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable
from typing import Any


def processes(initializer: Callable[[], None]) -> Any:
    """Processes of this machine, which end with the run.

    joblib's own begin from nothing and import everything again, about a second of CPU each. On Linux they are forked
    from this one instead, which has no thread of its own yet.
    """
    from joblib._parallel_backends import LokyBackend
    from joblib.externals.loky import ProcessPoolExecutor, get_reusable_executor
    from joblib.parallel import ParallelBackendBase

    class Forked(ParallelBackendBase):  # type: ignore[misc]  # untyped
        supports_retrieve_callback = True
        _workers: Any = None

        def effective_n_jobs(self, n_jobs: int) -> int:
            return n_jobs

        def configure(self, n_jobs: int = 1, parallel: Any = None, **_: Any) -> int:
            context = multiprocessing.get_context("fork")
            self.parallel, self._workers = (
                parallel,
                ProcessPoolExecutor(n_jobs, context=context, initializer=initializer),
            )
            return n_jobs

        def submit(self, func: Any, callback: Any = None) -> Any:
            future = self._workers.submit(func)
            future.add_done_callback(callback)
            return future

        def retrieve_result_callback(self, future: Any) -> Any:
            return future.result()

        def abort_everything(self, ensure_ready: bool = True) -> None:
            self.terminate()
            if ensure_ready:
                self.configure(self.parallel.n_jobs, self.parallel)

        def terminate(self) -> None:
            if self._workers:
                self._workers.shutdown(kill_workers=True)
                self._workers = None

    class Spawned(LokyBackend):  # type: ignore[misc]  # untyped
        def terminate(self) -> None:
            super().terminate()
            get_reusable_executor(max_workers=1, reuse=True).shutdown(wait=False, kill_workers=True)

    return Forked() if sys.platform == "linux" else Spawned(initializer=initializer)


def cluster(client: Any) -> Any:
    """All workers of a Dask cluster."""
    from joblib._dask import DaskDistributedBackend

    class Telling(DaskDistributedBackend):  # type: ignore[misc]  # untyped
        def effective_n_jobs(self, n_jobs: int) -> int:
            # With one, joblib does the work in this very process.
            return max(2, int(super().effective_n_jobs(n_jobs)))

        def submit(self, func: Any, callback: Any = None) -> Any:
            # Nobody calls back for a task that no worker survived, and joblib waits for it for ever.
            future = super().submit(func, callback)
            future.add_done_callback(lambda done: callback(done.exception()) if done.exception() else None)
            return future

    return Telling(client=client)
