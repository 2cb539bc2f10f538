"""Work that waits for a server, several at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

One = TypeVar("One")
Done = TypeVar("Done")


def side_by_side(work: Callable[[One], Done], wanted: Sequence[One], at_once: int) -> Iterator[Done]:
    """`work` on each, `at_once` at a time, the results in order; what it raises is raised in the place of its result.

    Who stops early, by Ctrl-C say, waits for nobody: what is not begun never is, and the threads are daemons. Those of
    an executor are waited for when the program ends, for as long as a server takes.
    """
    results = deque[Future[Done]](Future() for _ in wanted)
    waiting = deque(zip(wanted, results, strict=True))

    def carry_out() -> None:
        while True:
            try:
                one, result = waiting.popleft()
            except IndexError:
                return
            try:
                result.set_result(work(one))
            except BaseException as failure:
                result.set_exception(failure)

    for _ in range(min(at_once, len(wanted))):
        Thread(target=carry_out, daemon=True).start()
    try:
        while results:
            yield results.popleft().result()
    finally:
        waiting.clear()
