"""The logs of inspect_ai, `.eval` (a zip archive) and `.json`, read without inspect_ai itself.

Source: `log/_log.py`, `log/_recorders/eval.py` and `value_to_float` in `scorer/_metric.py` of inspect_ai 0.3.285.
An epoch is a repeat. What was asked is every message before the model's first answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from modelcheck.errors import UsageError
from modelcheck.finetune.logs.archive import Archive
from modelcheck.finetune.logs.record import Log, Record, canonical, mapping, named, needed, obj
from modelcheck.finetune.samples import Sample

# Of the settings of generation, those that change answers.
GENERATION = (
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "stop_seqs",
    "frequency_penalty",
    "presence_penalty",
    "system_message",
    "reasoning_effort",
    "reasoning_tokens",
    "response_schema",
)
WORDS = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
CUT = ("max_tokens", "model_length")


def recognises(document: Mapping[str, Any]) -> bool:
    """Whether a JSON document is a log of inspect_ai."""
    return {"version", "status", "eval"} <= document.keys()


def read(path: Path) -> Log:
    """The one task of a log. Raises UsageError where it is not complete, or samples ended in an error."""
    header, samples = _opened(path)
    if header.get("status") != "success":
        raise UsageError(
            f"{path}: its status is {header.get('status')!r}, not success: run `inspect eval-retry {path}`"
        )
    failed, records = [], []
    for place, sample in samples:
        if sample.get("error"):
            failed.append(str(sample.get("id")))
        else:
            records.append(_record(sample, place))
    if failed:
        some = ", ".join(failed[:5]) + ", ..." * (len(failed) > 5)
        raise UsageError(f"{path}: {len(failed)} samples ended in an error and have no score ({some}): evaluate again")
    run = mapping(needed(header, "eval", str(path)), f"{path}: eval")
    return Log(path, str(needed(run, "task", f"{path}: eval")), tuple(records), _settings(run, header))


def _opened(path: Path) -> tuple[dict[str, Any], Iterator[tuple[str, dict[str, Any]]]]:
    """The header, and every sample with its place. An archive is read sample by sample: each holds all its events."""
    with path.open("rb") as file:
        zipped = file.read(2) == b"PK"
    if not zipped:
        header = obj(path.read_bytes(), str(path))
        places = ((f"{path}: sample {n}", sample) for n, sample in enumerate(header.get("samples") or []))
        return header, ((place, mapping(sample, place)) for place, sample in places)
    archive = Archive(path)
    entries = ((f"{path}: {name}", name) for name in archive.names if name.startswith("samples/"))
    return obj(archive.read("header.json"), f"{path}: header.json"), (
        (place, obj(archive.read(name), place)) for place, name in entries
    )


def _settings(run: Mapping[str, Any], header: Mapping[str, Any]) -> dict[str, Any]:
    plan = header.get("plan") or {}
    asked = {**(run.get("model_generate_config") or {}), **(plan.get("config") or {})}
    return {
        **{name: run.get(name) for name in ("task_version", "task_args", "scorers")},
        "generation": {name: asked[name] for name in GENERATION if asked.get(name) is not None},
    }


def _record(sample: Mapping[str, Any], place: str) -> Record:
    output = mapping(sample.get("output") or {}, f"{place}: output")
    choice = (output.get("choices") or [{}])[0]
    question, reference = needed(sample, "input", place), needed(sample, "target", place)
    epoch = sample.get("epoch", 1)
    if not isinstance(epoch, int) or epoch < 1:
        raise UsageError(f"{place}: epoch is {epoch!r}, expected a number from 1")
    resolved = Texts(sample.get("attachments") or {})
    known = Sample(
        item=named(needed(sample, "id", place), question, sample.get("choices"), reference),
        repeat=epoch - 1,
        prompt=resolved.of(question[-1].get("content") if isinstance(question, list) and question else question),
        answer=resolved.of(output.get("completion") or (choice.get("message") or {}).get("content") or ""),
        stopped=choice.get("stop_reason") not in CUT,
        tokens=(output.get("usage") or {}).get("output_tokens") or 0,
        reference=reference,
        score=0.0,
    )
    scores = dict(_scores(sample.get("scores") or {}, place))
    columns = mapping(sample.get("metadata") or {}, f"{place}: metadata")
    return Record(sample=known, asked=_asked(sample), scores=scores, columns=columns)


def _asked(sample: Mapping[str, Any]) -> str:
    given = []
    for message in sample.get("messages") or []:
        if message.get("role") == "assistant" and message.get("source") != "input":
            break
        given.append([message.get("role"), message.get("content")])
    return canonical(given)


def _scores(scores: Mapping[str, Any], place: str) -> Iterator[tuple[str, Any]]:
    """`match`, or `match/part` of a scorer with several values."""
    for name, score in scores.items():
        value = mapping(score, f"{place}: score {name}").get("value")
        parts = {f"{name}/{part}": v for part, v in value.items()} if isinstance(value, dict) else {name: value}
        for part, logged in parts.items():
            yield part, _number(logged)


def _number(value: Any) -> Any:
    """A word of inspect as a number; what is none stays as it is."""
    if not isinstance(value, str):
        return value
    if value in WORDS or value.lower() in WORDS:
        return WORDS.get(value, WORDS.get(value.lower()))
    try:
        number = float(value)
    except ValueError:
        return value
    return number if math.isfinite(number) else value


class Texts:
    """Contents as text: parts joined, attachments put in their places."""

    def __init__(self, attachments: Mapping[str, str]) -> None:
        self.attachments = attachments

    def of(self, content: Any) -> str:
        """The text of a message's content."""
        if isinstance(content, list):
            parts = (p.get("text") or f"[{p.get('type')}]" if isinstance(p, dict) else p for p in content)
            return "\n".join(self.of(part) for part in parts)
        text = canonical(content)
        scheme, _, name = text.partition("attachment://")
        return str(self.attachments.get(name, text)) if name and not scheme else text
