"""The parent's end of the zygote: started on the first template, asked once for each, closed with the run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

ZYGOTE = Path(__file__).with_name("zygote.py")


class Renderer:
    """Renders templates in a child process; safe to share between threads."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Renderer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child process."""
        if self._process:
            self._process.communicate()
            self._process = None

    def start(self) -> None:
        """Start the child process early, so that it imports jinja2 while this process reads files."""
        if self._process is None:
            command = [sys.executable, "-I", str(ZYGOTE), *_import_paths("jinja2", "markupsafe")]
            # Nothing of the environment is of use to a template, and some of it is secret (HF_TOKEN).
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={}
            )

    def run_plan(self, template: str, variables: Mapping[str, str]) -> dict[str, Any]:
        """Render every conversation of modelcheck/render/plan.py. The answer is described in render/work.py."""
        return self._ask({"template": template, "variables": variables})

    def render(
        self, template: str, variables: Mapping[str, str], conversations: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """Render given conversations: each a dict of the keywords of `environment.render`, and `clock`."""
        return self._ask({"template": template, "variables": variables, "conversations": conversations})

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        message = json.dumps(request).encode()
        with self._lock:
            self.start()
            assert self._process and self._process.stdin and self._process.stdout
            self._process.stdin.write(len(message).to_bytes(8, "little") + message)
            self._process.stdin.flush()
            head = self._process.stdout.read(8)
            answer = self._process.stdout.read(int.from_bytes(head, "little"))
        result: dict[str, Any] = json.loads(answer)
        if "crashed" in result:
            raise RuntimeError(f"the renderer failed: {result['crashed']}")
        return result


def _import_paths(*modules: str) -> list[str]:
    # -I hides PYTHONPATH and the user's site-packages: say where the modules that we would import are.
    folders = (os.path.dirname(os.path.dirname(spec.origin)) for m in modules if (spec := find_spec(m)) and spec.origin)
    return list(dict.fromkeys(folders))
