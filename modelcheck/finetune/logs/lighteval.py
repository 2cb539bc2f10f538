"""details_TASK_DATE.parquet, as lighteval writes it with --save-details, and the same rows as JSON Lines.

Source: `lighteval/logging/info_loggers.py` of 0.13, whose rows hold `doc`, `model_response` and `metric`. Older rows
hold `example`, `predictions` and `metrics`, as columns of their own or written down as Python does.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from modelcheck.errors import UsageError
from modelcheck.finetune.logs.record import Log, Record, canonical, mapping, named, needed, objects, suite_of
from modelcheck.finetune.samples import Sample

NEW = frozenset({"doc", "model_response", "metric"})
OLD = frozenset({"example", "predictions", "metrics", "gold"})


def recognises(first: Mapping[str, Any]) -> bool:
    """Whether a file's first row is one of either layout."""
    return first.keys() >= NEW or first.keys() >= OLD


def read(path: Path) -> Log:
    """The one task of a file."""
    rows = list(objects(path) if path.suffix != ".parquet" else _table(path))
    if not rows or not recognises(rows[0][1]):
        raise UsageError(f"{path}: holds no details of lighteval; expected the columns {', '.join(sorted(NEW))}")
    if rows[0][1].keys() >= NEW:
        doc = mapping(rows[0][1]["doc"], f"{rows[0][0]}: doc")
        settings = {name: doc.get(name) for name in ("generation_size", "stop_sequences", "num_samples")}
        suite = doc.get("task_name") or suite_of(path)
        return Log(path, suite, tuple(_record(row, place) for place, row in rows), settings)
    return Log(path, suite_of(path), tuple(_old(row, place, n) for n, (place, row) in enumerate(rows)))


def _table(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise UsageError(f"{path}: parquet needs the package pyarrow: pip install 'modelcheck[finetune]'") from None
    try:
        rows = pq.read_table(path).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"{path}: is no whole parquet file ({error}); evaluate again") from None
    for number, row in enumerate(rows, 1):
        yield f"{path}: row {number}", row


def _record(row: Mapping[str, Any], place: str) -> Record:
    doc, response, scores = (
        mapping(needed(row, n, place), f"{place}: {n}") for n in ("doc", "model_response", "metric")
    )
    choices, gold = doc.get("choices") or [], doc.get("gold_index")
    right = [c for n, c in enumerate(choices) if n in (gold if isinstance(gold, list) else [gold])]
    answers = response.get("text_post_processed") or response.get("text") or []
    sample = Sample(
        item=named(needed(doc, "id", f"{place}: doc"), doc.get("query"), choices, gold),
        prompt=canonical(doc.get("query")),
        answer=canonical(answers[0]) if answers else _likeliest(response, choices),
        reference=right[0] if len(right) == 1 else right,
        score=0.0,
    )
    given = [doc.get("query"), doc.get("instruction"), doc.get("fewshot_samples"), response.get("input")]
    columns = mapping(doc.get("specific") or {}, f"{place}: specific")
    return Record(sample=sample, asked=canonical(given), scores=scores, columns=columns)


def _likeliest(response: Mapping[str, Any], choices: list[Any]) -> str:
    likelihoods = response.get("logprobs") or []
    if len(likelihoods) != len(choices) or not choices:
        return ""
    return canonical(choices[max(range(len(choices)), key=likelihoods.__getitem__)])


def _old(row: Mapping[str, Any], place: str, number: int) -> Record:
    scores = mapping(_plain(row["metrics"]), f"{place}: metrics")
    gold, predictions = _plain(row["gold"]), _plain(row["predictions"])
    alone = gold[0] if isinstance(gold, list) and len(gold) == 1 else gold
    sample = Sample(
        item=named(number, row["example"], gold),
        prompt=canonical(row["example"]),
        answer=canonical(predictions[0] if isinstance(predictions, list) and predictions else predictions),
        reference=alone,
        score=0.0,
    )
    specific = _plain(row.get("specifics"))
    columns = specific if isinstance(specific, dict) else {}
    return Record(sample=sample, asked=canonical(row.get("full_prompt") or ""), scores=scores, columns=columns)


def _plain(value: Any) -> Any:
    """A value that was written down as Python does, or the text that it is."""
    try:
        return ast.literal_eval(value) if isinstance(value, str) else value
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return value
