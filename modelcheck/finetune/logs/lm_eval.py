"""samples_TASK_DATE.jsonl, as lm-eval writes it with --log_samples: a line for each document and filter.

Source: `lm_eval/evaluator.py` and `lm_eval/loggers/evaluation_tracker.py` of 0.4.13. Prompts are compared as text, not
by `prompt_hash`, which only covers the first of several requests.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modelcheck.errors import UsageError
from modelcheck.finetune.logs.record import Log, Record, canonical, mapping, named, needed, objects, suite_of
from modelcheck.finetune.samples import Sample

# What a line holds beside its scores.
FIXED = frozenset(
    {"doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics"}
    | {"doc_hash", "prompt_hash", "target_hash"}
)


def recognises(first: Mapping[str, Any]) -> bool:
    """Whether a file's first line is a document with its requests and responses."""
    return {"doc_id", "doc", "arguments", "resps"} <= first.keys()


def read(path: Path) -> Log:
    """The one task of a file. Every score is named after its filter as in lm-eval's own table: `exact_match,none`."""
    lines = list(objects(path))
    requests = [_requests(line, place) for place, line in lines]
    # What all prompts begin with, such as examples, tells people nothing about an item.
    shared = os.path.commonprefix([str(asked[0][0]) for asked in requests]).rpartition("\n")[0]
    records = tuple(
        _record(line, asked, len(shared), place) for (place, line), asked in zip(lines, requests, strict=True)
    )
    options = requests[0][0][1] if requests and isinstance(requests[0][0][1], dict) else {}
    return Log(path, suite_of(path), records, {"generation": options})


def _record(line: Mapping[str, Any], asked: Sequence[Sequence[Any]], shared: int, place: str) -> Record:
    doc, reference = mapping(line["doc"], f"{place}: doc"), needed(line, "target", place)
    answer, reference = _answer(needed(line, "filtered_resps", place), asked, reference)
    sample = Sample(
        item=named(line["doc_id"], doc, line["target"]),
        prompt=str(asked[0][0])[shared:].strip(),
        answer=answer,
        reference=reference,
        score=0.0,
    )
    kept = line.get("filter", "none")
    scores = {f"{name},{kept}": value for name, value in line.items() if name not in FIXED}
    return Record(sample=sample, asked=canonical([[*r] for r in asked]), scores=scores, columns=doc)


def _requests(line: Mapping[str, Any], place: str) -> list[list[Any]]:
    """The arguments of each request: a prompt, and options or a continuation."""
    found = [
        [*request.values()] if isinstance(request, dict) else request
        for request in mapping(needed(line, "arguments", place), f"{place}: arguments").values()
    ]
    if not found or not all(isinstance(request, list) and len(request) > 1 for request in found):
        raise UsageError(f"{place}: arguments holds no prompt; tasks of rolling likelihoods have no score of an item")
    return found


def _answer(responses: Any, asked: Sequence[Sequence[Any]], target: Any) -> tuple[str, Any]:
    """What was answered and what is right, as text: of several choices, the likeliest and the one of that number."""
    choices = [request[1] for request in asked]
    if not all(isinstance(choice, str) for choice in choices):
        return canonical(responses[0] if isinstance(responses, list) and len(responses) == 1 else responses), target
    try:
        likeliest = max(range(len(choices)), key=lambda n: float(responses[n][0]))
        right = choices[int(target)].strip() if str(target).isdecimal() and int(target) < len(choices) else target
    except (TypeError, ValueError, LookupError):
        return canonical(responses), target
    return choices[likeliest].strip(), right
