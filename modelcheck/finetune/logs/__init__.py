"""Logs of evaluations, whoever wrote them: recognised by what they hold, read into one form."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelcheck.errors import UsageError
from modelcheck.finetune.logs import inspect_ai, lighteval, lm_eval, ours
from modelcheck.finetune.logs.record import Log, Record

__all__ = ["FORMATS", "Log", "Record", "read"]


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of log: by which bytes or by which first JSON object it is known, and who reads it."""

    name: str
    magic: bytes
    recognises: Callable[[Mapping[str, Any]], bool]
    read: Callable[[Path], Log]


FORMATS = (
    Format("samples.jsonl of modelcheck", b"", ours.recognises, ours.read),
    Format("samples_*.jsonl of lm-eval --log_samples", b"", lm_eval.recognises, lm_eval.read),
    Format(".eval or .json of inspect", b"PK\x03\x04", inspect_ai.recognises, inspect_ai.read),
    Format("details_*.parquet of lighteval --save-details", b"PAR1", lighteval.recognises, lighteval.read),
)
SUFFIXES = (".jsonl", ".json", ".eval", ".parquet")


def read(path: Path) -> dict[str, Log]:
    """{suite: its log} of a file, or of all logs in a folder. Raises UsageError for what is no log, or damaged."""
    found: dict[str, Log] = {}
    for file in _files(path):
        form = _format(file)
        if form is None and file != path and file.suffix == ".json":
            continue  # a table of results beside the logs
        if form is None:
            raise UsageError(f"{file}: is no log of an evaluation; known are {'; '.join(f.name for f in FORMATS)}")
        log = _read(form, file)
        if not log.records:
            raise UsageError(f"{file}: holds no answers: evaluate first")
        if log.suite in found:
            both = f"{found[log.suite].path} and {file}"
            raise UsageError(
                f"{path}: holds two logs of {log.suite}, {both}: name one of the files, or clear the folder"
            )
        found[log.suite] = log
    if not found:
        raise UsageError(f"{path}: holds no log of an evaluation; known are {'; '.join(f.name for f in FORMATS)}")
    return found


def _read(form: Format, file: Path) -> Log:
    try:
        return form.read(file)
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError, OSError) as error:
        problem = f"is not what {form.name} holds ({type(error).__name__}: {error})"
        raise UsageError(
            f"{file}: {problem}: it is damaged, or of a version that is not known; evaluate again"
        ) from None


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES and file.is_file())
    elif path.is_file():
        yield path
    else:
        raise UsageError(f"{path}: no such file or folder")


def _format(path: Path) -> Format | None:
    try:
        with path.open("rb") as file:
            first = file.readline()
            start = _object(first)
            if start is None and first.lstrip()[:1] == b"{":
                start = _object(first + file.read())
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None
    for form in FORMATS:
        if (form.magic and first.startswith(form.magic)) or (start is not None and form.recognises(start)):
            return form
    return None


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
