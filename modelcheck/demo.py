"""A small but complete checkpoint with the classic faults planted: found, mended, and taken back, in a second."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from modelcheck.engine import Options, lint_targets
from modelcheck.errors import UsageError
from modelcheck.finding import Severity
from modelcheck.mending.plan import Allowed
from modelcheck.mending.proposal import propose, write
from modelcheck.output import diff, text
from modelcheck.render.renderer import Renderer
from modelcheck.report import TargetReport
from modelcheck.run import Run
from modelcheck.testing import write_overlay
from modelcheck.transaction import undo

TEMPLATE = """Today is {{ strftime_now('%d %b %Y') }}.
{% for message in messages %}
<|im_start|>{{ message['role'] }}
{{ message['content'] }}<|reserved_1|>
{% endfor %}"""
FAULTS = {
    "tokenizer_config.json": {"pad_token": "<|im_end|>", "chat_template": TEMPLATE},
    "config.json": {"vocab_size": 512, "use_cache": False, "sliding_window": 2047},
    "generation_config.json": {"eos_token_id": 4},
    "tensors.json": {"model.embed_tokens.weight": {"2": "zeros", "4": "zeros", "300": 301}},
}


@contextmanager
def planted(folder: Path | None) -> Iterator[Path]:
    """The folder with the faulty checkpoint: a temporary one, or the one named, which must be new or empty."""
    with TemporaryDirectory(prefix="modelcheck-demo-") as temporary:
        place = folder or Path(temporary)
        if place.exists() and any(place.iterdir()):
            raise UsageError(f"{place} is not empty; name a new folder for the demo")
        yield write_overlay(place, {name: json.dumps(patch) for name, patch in FAULTS.items()})


def acts(place: Path) -> Iterator[str]:
    """What a newcomer would type and see: lint, fix, fix --write, lint, undo."""
    run = Run(Options(), Severity.ERROR, strict=False, per_model_ignore=())
    original = _contents(place)
    with Renderer() as renderer:
        yield f"$ modelcheck lint {place}\n\n{text.render(_linted(place))}"
        proposal = propose(str(place), run, Allowed(unsafe=True, options=frozenset({"all-untrained"})), renderer)
        command = f"modelcheck fix {place} --unsafe --all-untrained"
        yield f"$ {command}\n\n{diff.render(proposal)}\n{diff.outcome(proposal, None, written=False)}\n"
        faults = [*proposal.faults, *(write(proposal, run, renderer) if not proposal.faults else ())]
        yield "\n".join([f"$ {command} --write", *faults, diff.outcome(proposal, None, written=not faults), ""])
    yield f"$ modelcheck lint {place}\n\n{text.render(_linted(place))}"
    undo(place)
    same = "every byte is as it was" if _contents(place) == original else "NOT as it was: please report it"
    yield f"$ modelcheck undo {place}\n\n  {same}\n"


def _linted(place: Path) -> TargetReport:
    [report] = lint_targets([place], Options())
    return report


def _contents(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}
