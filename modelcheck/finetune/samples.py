"""samples.jsonl: what a model answered and what it scored, one line for each item and repeat, only ever appended to.

Resuming a run that was killed means: skip what `present` names, append the rest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from modelcheck.errors import UsageError
from modelcheck.facts.files import json_type
from modelcheck.finetune import json_lines

COUNTED = "counted_by_server"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One answer of a model to one item of a suite.

    item        `item_id` of the prompt messages and the reference
    repeat      0, 1, ... of the answers drawn for the item
    cluster     what the item shares with others that are not independent of it (a source document); None: nothing
    slice       the part of the suite that reports show by itself
    critical    an item that must not be lost, whatever the mean says
    prompt      the last user message, for people to read
    prompt_ids  the token ids that the model was given; none where it is one behind a server, with ids of its own
    answer      what is scored: `raw` without its thinking
    raw         what the model wrote, special tokens left out
    stopped     it ended by a stop token, not by the limit of length
    tokens      the number of tokens it wrote
    score       in [0, 1]
    metadata    whatever else the row or the engine had to say, as JSON; under COUNTED the tokens `read` and `written`
                by a server's own count, null where it does not tell
    """

    item: str
    repeat: int = 0
    cluster: str | None = None
    slice: str | None = None
    critical: bool = False
    prompt: str = ""
    prompt_ids: tuple[int, ...] = ()
    answer: str
    raw: str = ""
    stopped: bool = True
    tokens: int = 0
    score: float
    reference: Any = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


NAMES = tuple(f.name for f in fields(Sample))


def item_id(messages: Sequence[Mapping[str, Any]], reference: Any) -> str:
    """The name of an item in every run: sha256 of the prompt messages and the reference as canonical JSON."""
    text = json.dumps([list(messages), reference], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def read(path: Path) -> list[Sample]:
    """All samples of a file, without a torn last line. Raises UsageError naming the line that is wrong."""
    samples: dict[tuple[str, int], int] = {}
    found = []
    for number, line in json_lines.lines(path):
        sample = _sample(f"{path}:{number}", line)
        earlier = samples.setdefault((sample.item, sample.repeat), number)
        if earlier != number:
            problem = f"item {sample.item[:12]}, repeat {sample.repeat} is already in line {earlier}"
            raise UsageError(f"{path}:{number}: {problem}: delete one of them, or evaluate again into a new file")
        found.append(sample)
    return found


def present(path: Path) -> set[tuple[str, int]]:
    """(item, repeat) of what a file holds already; nothing where there is no file."""
    return {(sample.item, sample.repeat) for sample in read(path)} if path.exists() else set()


def append(path: Path, samples: Iterable[Sample]) -> None:
    """Add a batch and return when it is on the disk."""
    json_lines.append(path, ({name: getattr(sample, name) for name in NAMES} for sample in samples))


def _sample(place: str, line: bytes) -> Sample:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        raise UsageError(f"{place}: is no JSON; delete this line and evaluate again, which resumes") from None
    if not isinstance(record, dict):
        raise UsageError(f"{place}: expected a sample, a JSON object, not a {json_type(record)}")
    for name, value in record.items():
        if name in TYPES and not TYPES[name](value):
            raise UsageError(f"{place}: {name} is {value!r}, expected {EXPECTED[name]}")
    if lacking := [name for name in ("item", "answer", "score") if name not in record]:
        raise UsageError(f"{place}: lacks {', '.join(lacking)}; a sample has {', '.join(NAMES)}")
    values = {name: value for name, value in record.items() if name in NAMES}
    return Sample(**values | {"prompt_ids": tuple(values.get("prompt_ids", ())), "score": float(record["score"])})


def _integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _text_or_none(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _score(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _ids(value: Any) -> bool:
    return isinstance(value, list) and set(map(type, value)) <= {int} and min(value, default=0) >= 0


def _object(value: Any) -> bool:
    return isinstance(value, dict)


COLUMNS = {
    ("item", "prompt", "answer", "raw"): (_text, "text"),
    ("cluster", "slice"): (_text_or_none, "text or null"),
    ("repeat", "tokens"): (_integer, "a whole number from 0"),
    ("critical", "stopped"): (_flag, "true or false"),
    ("score",): (_score, "a number from 0 to 1"),
    ("prompt_ids",): (_ids, "a list of token ids"),
    ("metadata",): (_object, "an object"),
}
TYPES = {name: test for names, (test, _) in COLUMNS.items() for name in names}
EXPECTED = {name: wanted for names, (_, wanted) in COLUMNS.items() for name in names}
