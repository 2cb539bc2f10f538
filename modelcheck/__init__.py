"""modelcheck: find what will go wrong with a model before you spend GPU money on it.

`modelcheck.lint("path/to/checkpoint")` or, inside a trainer, `modelcheck.lint(tokenizer=..., model=...)`.
Importing this package imports neither numpy, torch nor transformers.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Unpack

from modelcheck.check import Check, check
from modelcheck.errors import PackError, UsageError
from modelcheck.fact import Malformed, Missing, NotApplicable, fact
from modelcheck.finding import Confidence, Finding, Severity
from modelcheck.objects import Objects, present
from modelcheck.report import FindingsError, Report

if TYPE_CHECKING:
    from collections.abc import Sequence

__version__ = "0.1.0"
__all__ = [
    "Check",
    "Confidence",
    "Finding",
    "FindingsError",
    "Malformed",
    "Missing",
    "NotApplicable",
    "PackError",
    "Report",
    "Severity",
    "UsageError",
    "__version__",
    "check",
    "fact",
    "lint",
]


def lint(
    *targets: str | os.PathLike[str],
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    extend_select: Sequence[str] = (),
    target: Sequence[str] = (),
    weights: str | None = None,
    pedantic: bool = False,
    base: str | os.PathLike[str] | None = None,
    chat_template: str | os.PathLike[str] | None = None,
    lora: str | os.PathLike[str] | None = None,
    data: str | os.PathLike[str] | None = None,
    grammar: str | os.PathLike[str] | None = None,
    revision: str | None = None,
    offline: bool = False,
    **objects: Unpack[Objects],
) -> Report:
    """Lint checkpoint folders and hub ids, or the live objects of a trainer; the options are those of the command line.

    Raises UsageError for options that mean nothing, TypeError where neither folders nor objects are given or both are.
    """
    from modelcheck.engine import Options, lint_objects, lint_targets

    live = present(objects)
    if bool(targets) == bool(live):
        raise TypeError("lint: pass either paths of checkpoints or live objects (tokenizer=, model=, ...)")
    for path in targets:
        if not isinstance(path, str | os.PathLike):
            raise TypeError(f"lint: {path!r} is a {type(path).__name__}, expected a path or hub id: lint('a', 'b')")
    for name, value in {"select": select, "ignore": ignore, "extend_select": extend_select, "target": target}.items():
        if isinstance(value, str):
            raise TypeError(f"lint: {name} is {value!r}, expected a list: [{value!r}]")
    set_up = _path(base), _path(chat_template), _path(lora), _path(data), _path(grammar)
    options = Options(select, ignore, extend_select, target, weights, pedantic, *set_up, revision, offline)
    return Report((lint_objects(live, options),) if live else tuple(lint_targets(targets, options)))


def _path(path: str | os.PathLike[str] | None) -> str | None:
    if path == "":
        raise UsageError("lint: a path is empty; leave the argument out where there is none")
    return None if path is None else os.fspath(path)
