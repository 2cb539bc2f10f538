"""The scorer that somebody else wrote."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any, cast

from modelcheck.dataset.example import Example
from modelcheck.errors import UsageError, did_you_mean, raised_at
from modelcheck.finetune.scorers.options import Options, Scorer


def python(options: Options) -> Scorer:
    """The function that `function` names as "package.module:function", called with answer, reference and row."""
    wanted = "a function as 'package.module:function'"
    name = options.take("function", str, wanted)
    module, _, attribute = name.partition(":")
    if not module or not attribute.isidentifier():
        options.refuse("function", wanted)
    try:
        function: Any = getattr(importlib.import_module(module), attribute)
    except AttributeError as error:
        if module not in sys.modules:  # its own code raised
            raise _not_imported(options, name, error) from None
        near = did_you_mean(attribute, vars(sys.modules[module]))
        raise UsageError(f"{options.place}: function: the module {module} has no {attribute}{near}") from None
    except Exception as error:  # whatever somebody else's module raises
        raise _not_imported(options, name, error) from None
    if not callable(function):
        options.refuse("function", f"{wanted}; this is a {type(function).__name__}")
    if source := getattr(sys.modules[module], "__file__", None):
        options.rests_on("function", Path(source).read_bytes())

    options.reads_rows = True

    def score(answer: str, item: Example) -> float:
        try:
            return cast("float", function(answer, item.reference, item.fields))
        except Exception as error:
            problem = f"{name} raised {type(error).__name__}: {error}{raised_at(error)}"
            raise UsageError(f"{options.place}: {problem} for the answer {answer[:60]!r}") from None

    return score


def _not_imported(options: Options, name: str, error: Exception) -> UsageError:
    said = str(error) if isinstance(error, ImportError) else f"{type(error).__name__}: {error}{raised_at(error)}"
    return UsageError(f"{options.place}: function: {name} cannot be imported ({said})")
