"""What a worker and the stages in it share: how they speak, and how they refuse."""

from __future__ import annotations

from typing import Protocol

# Asked of a worker, it gives back the model that it keeps for the next request.
RELEASE = "release"


class Emit(Protocol):
    """Send an event to whoever asked for the stage. `data` must be what JSON can hold."""

    def __call__(self, event: str, **data: object) -> None:
        """Send it."""


class StageError(Exception):
    """The stage cannot do what it was asked. The text says why and what to do; a traceback would add nothing."""


class LibraryError(StageError):
    """A library gave up, in words of its own; what it printed before says more."""
