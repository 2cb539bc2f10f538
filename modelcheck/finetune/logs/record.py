"""What is common to the logs of evaluations: a suite, its settings, and one record for each answer."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelcheck.errors import UsageError
from modelcheck.facts.files import json_type
from modelcheck.finetune.samples import Sample

# The suite of a log that does not say which it is; the same on both sides.
UNNAMED = "samples"
DATED = re.compile(r"(?:samples|details)_(.+)_\d{4}-\d\d-\d\dT[\d.-]+\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One answer as it was logged, before it is known which of its scores counts.

    sample   all but the score
    asked    what the model was given, as far as the log has it: the same on both sides, or they are not comparable
    scores   {metric: value}, the values as they were logged
    columns  what else the row of the data set holds: an item's cluster may be one of them
    """

    sample: Sample
    asked: str = ""
    scores: Mapping[str, Any]
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Log:
    """All answers of one suite, and the settings that must be those of the other side, too."""

    path: Path
    suite: str
    records: tuple[Record, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)


def suite_of(path: Path) -> str:
    """The suite that a file is named after, in the way of lm-eval (`samples_`) and lighteval (`details_`)."""
    dated = DATED.match(path.stem)
    return dated[1] if dated else UNNAMED


def named(identity: Any, *question: Any) -> str:
    """The name of an item: the log's own, and a hash of what is asked, so that another question is another item."""
    return f"{identity} {hashlib.sha256(canonical(question).encode()).hexdigest()[:8]}"


def canonical(value: Any) -> str:
    """JSON in which equal values are equal texts."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """`file:line` and object of every line of a JSON Lines file. Raises UsageError naming the line that is wrong."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield f"{path}:{number}", obj(line, f"{path}:{number}")


def obj(text: bytes | str, place: str) -> dict[str, Any]:
    """A JSON object. Raises UsageError where it is none: the evaluation that wrote it was cut short."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{place}: is no JSON ({error}); the log is damaged: evaluate again") from None
    return mapping(value, place)


def mapping(value: Any, place: str) -> dict[str, Any]:
    """The value, which must be an object. Raises UsageError with its place."""
    if not isinstance(value, dict):
        raise UsageError(f"{place}: expected an object, not a {json_type(value)}; is this the log of an evaluation?")
    return value


def needed(record: Mapping[str, Any], name: str, place: str) -> Any:
    """A value that the format always has. Raises UsageError where it is lacking."""
    if name not in record:
        raise UsageError(f"{place}: lacks {name}; is this the log of an evaluation, and whole?")
    return record[name]
