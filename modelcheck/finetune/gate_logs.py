"""The gate over logs of evaluations: which score is judged, what makes items dependent, and whether sides are alike."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modelcheck.errors import UsageError, did_you_mean
from modelcheck.finetune.gate import Policy, check_manifests, compare, pair
from modelcheck.finetune.logs import Log, Record, read
from modelcheck.finetune.pairing import NotComparable
from modelcheck.finetune.report import GateReport
from modelcheck.finetune.samples import Sample
from modelcheck.finetune.verdict import Role

SHOWN = 60


@dataclass(frozen=True, slots=True)
class Judged:
    """What of a log is judged: `metrics` by name (none: the only one), `cluster` and `critical` by column."""

    metrics: tuple[str, ...] = ()
    cluster: str | None = None
    critical: str | None = None


def gate(base: Path, tuned: Sequence[Path], role: Role, policy: Policy, judged: Judged) -> GateReport:
    """Every suite and metric of the logs under one demand; several tuned logs are several training seeds.

    Raises NotComparable, a UsageError, where sides differ in suites, items, prompts, repeats or settings.
    """
    before, after = read(base), [read(path) for path in tuned]
    for path, logs in zip(tuned, after, strict=True):
        if before.keys() != logs.keys():
            sides = f"{base} holds {_listed(before)}, {path} holds {_listed(logs)}"
            raise NotComparable(f"not comparable: {sides}; evaluate both sides on the same tasks")
    unknown = [name for name in judged.metrics if not any(_named(name, log) for log in before.values())]
    if unknown:
        known = sorted({metric for log in before.values() for metric in _metrics(log)})
        hint = did_you_mean(unknown[0], known)
        raise UsageError(f"--metric {unknown[0]}: {base} has no such metric{hint}; it has {', '.join(known)}")
    results = []
    for suite, log in before.items():
        runs = [logs[suite] for logs in after]
        for metric in _chosen(log, judged.metrics):
            samples = [_samples(one, metric, judged) for one in (log, *runs)]
            _alike(suite, metric, [log, *runs], samples)
            results.append(compare(samples[0], *samples[1:], role=role, suite=suite, metric=metric, policy=policy))
    return GateReport(f"{base} to {', '.join(map(str, tuned))}", tuple(results), policy)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _metrics(log: Log) -> list[str]:
    return list(dict.fromkeys(metric for record in log.records for metric in record.scores))


def _named(name: str, log: Log) -> list[str]:
    """The metric of that name, or those whose name begins with it and goes on with a filter or a part."""
    metrics = _metrics(log)
    return [name] if name in metrics else [m for m in metrics if m.startswith((f"{name},", f"{name}/"))]


def _chosen(log: Log, wanted: Sequence[str]) -> list[str]:
    if wanted:
        found = [metric for name in wanted for metric in _named(name, log)]
    else:
        found = [m for m in _metrics(log) if all(_share(r.scores[m]) for r in log.records if m in r.scores)]
    if not found or (not wanted and len(found) > 1):
        known = ", ".join(_metrics(log))
        if wanted:
            named = ", ".join(wanted)
            raise UsageError(
                f"{log.path}: {log.suite} has no metric {named}, but {known}: give --metric for it as well"
            )
        which = f"{len(found)} metrics" if found else "no metric with a score from 0 to 1"
        raise UsageError(f"{log.path}: {log.suite} has {which}; name those to judge with --metric, of {known}")
    return list(dict.fromkeys(found))


def _share(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1


def _samples(log: Log, metric: str, judged: Judged) -> list[Sample]:
    records = [record for record in log.records if metric in record.scores]
    scored = {record.sample.item for record in records}
    if lacking := sorted({record.sample.item for record in log.records} - scored):
        some = ", ".join(lacking[:3]) + ", ..." * (len(lacking) > 3)
        raise UsageError(
            f"{log.path}: {len(lacking)} items have no {metric} ({some}): evaluate again, or judge another"
        )
    samples: dict[tuple[str, int], Sample] = {}
    for record in records:
        sample = _sample(log, record, metric, judged)
        if (sample.item, sample.repeat) in samples:
            raise UsageError(f"{log.path}: item {sample.item} is there twice: two runs in one log; evaluate again")
        samples[sample.item, sample.repeat] = sample
    return list(samples.values())


def _sample(log: Log, record: Record, metric: str, judged: Judged) -> Sample:
    score, place = record.scores[metric], f"{log.path}: item {record.sample.item}"
    if not _share(score) or math.isnan(score):
        raise UsageError(f"{place}: {metric} is {score!r}, expected a number from 0 to 1; judge another with --metric")
    sample = replace(record.sample, score=float(score), metadata={"asked": record.asked})
    if judged.cluster is not None:
        value = _column(record, judged.cluster, "--cluster", place)
        sample = replace(sample, cluster=None if value is None else str(value))
    if judged.critical is not None:
        value = _column(record, judged.critical, "--critical", place)
        if value not in (True, False, None):
            raise UsageError(f"{place}: {judged.critical} is {value!r}, expected true or false (--critical)")
        sample = replace(sample, critical=bool(value))
    return sample


def _column(record: Record, name: str, option: str, place: str) -> Any:
    if name not in record.columns:
        known = f"it has {_listed(record.columns)}" if record.columns else "the log has none beside the answers"
        raise UsageError(f"{option} {name}: {place} has no such column{did_you_mean(name, record.columns)}; {known}")
    return record.columns[name]


def _alike(suite: str, metric: str, logs: Sequence[Log], samples: Sequence[Sequence[Sample]]) -> None:
    """Refuse logs of other settings, items or prompts."""
    try:
        for log in logs[1:]:
            if logs[0].settings and log.settings:  # samples of ours may have been copied without their manifest
                check_manifests(logs[0].settings, log.settings, differing=())
        items = pair(samples[0], *samples[1:])
    except NotComparable as error:
        raise NotComparable(f"{suite} {metric}: {error}") from None
    other = [
        (item.first, run[0])
        for item in items
        for run in item.tuned
        if run[0].metadata["asked"] != item.first.metadata["asked"]
    ]
    if other:
        named = list(dict.fromkeys(before.item for before, _ in other))
        some = ", ".join(named[:3]) + ", ..." * (len(named) > 3)
        raise NotComparable(
            f"{suite} {metric}: not comparable: the prompts of {len(named)} of {len(items)} items differ ({some}); the "
            f"first from {_difference(*(_asked(sample.metadata) for sample in other[0]))}; evaluate both with one chat "
            "template, system prompt and choice of examples"
        )


def _asked(metadata: Mapping[str, Any]) -> str:
    return str(metadata["asked"])


def _difference(base: str, tuned: str) -> str:
    at = next((n for n, (a, b) in enumerate(zip(base, tuned, strict=False)) if a != b), min(len(base), len(tuned)))
    return f"character {at} on, {base[at : at + SHOWN]!r} in base and {tuned[at : at + SHOWN]!r} in tuned"
