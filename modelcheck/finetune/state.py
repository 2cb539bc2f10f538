"""What a job has done already: results on disk, keyed by what they were made of; one process at a time makes them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from modelcheck.finetune.lock import Lock


class State:
    """The folder of a job. `lock` is held while anything is made; `tell` gets a line where it is waited for."""

    def __init__(self, folder: Path, tell: Callable[[str], None] = lambda _: None) -> None:
        self.folder, self._tell = folder, tell
        self._file = folder / "state.json"

    @cached_property
    def lock(self) -> Lock:
        """Held by the one process that works."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder.parent / ".gitignore").write_text("*\n", encoding="utf-8")
        return Lock(self.folder / "lock", self._tell)

    @property
    def empty(self) -> bool:
        """Whether nothing was made yet."""
        return not self._file.exists()

    def result(
        self,
        stage: str,
        inputs: Mapping[str, Any],
        make: Callable[[], dict[str, Any]],
        is_whole: Callable[[Mapping[str, Any]], bool] = lambda _: True,
    ) -> dict[str, Any]:
        """What `make` answered for these inputs, now or in an earlier run. A stage that raises leaves nothing.

        An earlier result counts where it `is_whole`: what it left in files is there still.
        """
        key = digest(inputs)
        with self.lock:
            known = self._read().get(stage)
            if known and known["inputs"] == key and is_whole(known["result"]):
                return dict(known["result"])
            result = make()
            self._write({**self._read(), stage: {"inputs": key, "result": result}})
        return result

    def kept(self, stage: str) -> dict[str, Any]:
        """What a stage answered last, whatever it was made of; nothing where it never did."""
        return dict(self._read().get(stage, {}).get("result", {}))

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}  # lost or torn: what it knew is made again
        stages = found.items() if isinstance(found, dict) else ()
        return {stage: made for stage, made in stages if _whole(made)}

    def _write(self, state: Mapping[str, Any]) -> None:
        partial = self._file.with_suffix(".partial")
        with partial.open("w", encoding="utf-8") as file:
            json.dump(state, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._file)


def _whole(made: Any) -> bool:
    return isinstance(made, dict) and "inputs" in made and isinstance(made.get("result"), dict)


def digest(value: Any) -> str:
    """SHA-256, in hex, of a value as JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
