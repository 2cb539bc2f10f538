"""What several test files need."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from modelcheck.engine import Options
from modelcheck.finding import Finding, Severity
from modelcheck.mending.plan import Allowed
from modelcheck.mending.proposal import Proposal, propose, write
from modelcheck.render.renderer import Renderer
from modelcheck.run import Run
from modelcheck.sources.local import LocalFolder
from modelcheck.sources.planned import Planned
from modelcheck.testing import lint_overlay

CONVERSATION = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Which colour has the sky?"},
    {"role": "assistant", "content": "Blue."},
    {"role": "user", "content": "And grass?"},
    {"role": "assistant", "content": "Green."},
]


def found(slug: str, **options: Any) -> list[Finding]:
    """The findings of one rule on the healthy tiny checkpoint, overlaid: found("pad-is-eos", config={...})."""
    return found_for(slug, (), {f"{name}.json": patch for name, patch in options.items()})


def found_for(slug: str, targets: Sequence[str], files: Mapping[str, Any]) -> list[Finding]:
    """The same for some `--target`s; files that are no text are written as JSON."""
    overlay = {name: content if isinstance(content, str) else json.dumps(content) for name, content in files.items()}
    [report] = lint_overlay(overlay, target=targets)
    assert report.internal == []
    return [f for f in report.findings if f.slug == slug]


def severities(findings: list[Finding]) -> list[str]:
    return [str(f.severity) for f in findings]


@dataclass(frozen=True)
class Result:
    """What a command printed and how it ended."""

    code: int
    stdout: str
    stderr: str


def run(*arguments: str) -> Result:
    """`modelcheck ARGUMENTS` in a process of its own, without a terminal."""
    command = [sys.executable, "-m", "modelcheck", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    return Result(done.returncode, done.stdout, done.stderr)


def proposed(folder: Path, *, unsafe: bool = False, options: Collection[str] = (), **set_up: Any) -> Proposal:
    """What `modelcheck fix` would do to a folder; `set_up` are options of lint: target, base, lora, select."""
    with Renderer() as renderer:
        return propose(str(folder), _run(set_up), Allowed(unsafe, frozenset(options)), renderer)


def mended(folder: Path, *, unsafe: bool = False, options: Collection[str] = (), **set_up: Any) -> Proposal:
    """The same, written; nothing of it may be a fault of ours."""
    run = _run(set_up)
    with Renderer() as renderer:
        proposal = propose(str(folder), run, Allowed(unsafe, frozenset(options)), renderer)
        assert proposal.faults == []
        assert write(proposal, run, renderer) == []
    return proposal


def _run(set_up: dict[str, Any]) -> Run:
    return Run(Options(**set_up), Severity.ERROR, strict=False, per_model_ignore=())


class State(NamedTuple):
    """What must not change of a file that is left alone, and what `undo` brings back."""

    content: bytes
    mode: int
    mtime_ns: int


def state(folder: Path) -> dict[str, State]:
    """{relative path: state} of every file under a folder but what `undo` keeps."""
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if path.is_file() and name.parts[0] != ".modelcheck":
            status = path.stat()
            found[str(name)] = State(path.read_bytes(), status.st_mode, status.st_mtime_ns)
    return found


def contents(folder: Path) -> dict[str, bytes]:
    """{relative path: bytes} of every file under a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def written(proposal: Proposal, folder: Path) -> Path:
    """The folder as the proposal would make it, written somewhere else."""
    planned = Planned(LocalFolder(proposal.target), proposal.plan.changes)
    folder.mkdir()
    for name, size in planned.sizes().items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(planned.read(name, 0, size))
    return folder


def loaded_tokenizer(folder: Path) -> Any:
    """The tokenizer as transformers loads it."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def loaded_model(folder: Path) -> Any:
    """The model as transformers loads it, in float32."""
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
