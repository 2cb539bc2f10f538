"""The report of a job as one page for people: the answer, what to do, verdicts, pictures, items, labels, settings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from modelcheck.finetune import report_answer, report_settings
from modelcheck.finetune.job_record import JobRecord, Losses
from modelcheck.finetune.label_preview import labelled
from modelcheck.finetune.messages import asked
from modelcheck.finetune.outcome import BLOCKED
from modelcheck.finetune.pairing import Item
from modelcheck.finetune.report import expected, heading, lowest, row
from modelcheck.finetune.report_answer import STATES
from modelcheck.finetune.samples import Sample
from modelcheck.finetune.verdict import Result, Verdict
from modelcheck.output import page
from modelcheck.output.curves import Series, curves
from modelcheck.output.intervals import Interval, Intervals, intervals

# Items that a demand shows: of one that is not met, and of one that is.
SHOWN, SHOWN_OF_PASSED = 8, 3
# Characters of a text; the whole is in samples.jsonl.
LONGEST = 700
ROWS_OF_LABELS = 3
# Hex digits of an item's name.
DIGITS = 12
# Steps whose details are a picture of their own on this page.
SHOWN_ELSEWHERE = ("data",)


@dataclass(frozen=True, slots=True)
class Text:
    """The beginning of a text, and how many characters are left out."""

    start: str
    more: int

    @classmethod
    def of(cls, text: str) -> Text:
        """As much of it as a page shows."""
        return cls(text[:LONGEST], max(0, len(text) - LONGEST))


@dataclass(frozen=True, slots=True)
class Reply:
    """One side's answer to an item: the lowest of its repeats. `cut`: it ended by the limit of length."""

    side: str
    text: Text
    score: float
    cut: bool
    reason: Text | None


@dataclass(frozen=True, slots=True)
class Shown:
    """An item with what was expected of it, and the answers side by side."""

    id: str
    prompt: Text
    expected: Text
    critical: bool
    lost: bool
    replies: tuple[Reply, ...]


def render(record: JobRecord) -> str:
    """The page."""
    made = record.made
    answered = report_answer.answer(record)
    return page.render(
        "finetune.html",
        made=made,
        answer=answered,
        advice=list(report_answer.advice(record)),
        again=report_answer.again(record, answered),
        rerun=report_answer.RERUN,
        counts_of=_counts(record),
        heads=heading(made),
        table=[(result, row(result), STATES[result.verdict]) for result in made.results],
        remarks=list(report_answer.remarks(record)),
        pictures=list(_pictures(made.results)),
        sliced=[result for result in made.results if result.slices],
        worst=list(_worst(made.results, record.seeds)),
        losses=record.losses,
        curves=curves(list(_series(record.losses))),
        labels=record.labels,
        preview=[
            shown.excerpt() for shown in labelled(record.preview[:ROWS_OF_LABELS], record.labels.get("end_ids", ()))
        ],
        steps=list(_steps(record)),
        glance=list(report_settings.glance(record)),
        settings=list(report_settings.settings(record)),
        loaded=report_settings.loaded(record),
        loaded_by=list(record.loaded),
        digits=report_settings.DIGITS,
        versions=record.environment.get("stages", {}),
        environment=list(report_settings.environment(record)),
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    )


def _counts(record: JobRecord) -> list[tuple[str, int]]:
    verdicts = [result.verdict for result in record.made.results]
    ran = sum(outcome.verdict != BLOCKED for outcome in record.outcomes)
    words = {"not met": Verdict.FAIL, "cannot tell": Verdict.INCONCLUSIVE, "met": Verdict.PASS}
    return [
        *((word, verdicts.count(verdict)) for word, verdict in words.items()),
        ("steps not run", len(record.steps) - ran),
    ]


def _pictures(results: Iterable[Result]) -> Iterator[tuple[str, str, Intervals]]:
    """(title, what is drawn, layout): results of one unit share an axis."""
    kinds: dict[str, list[Interval]] = {"difference": [], "share": [], "ratio": []}
    for result in results:
        compared = result.pairs is not None or result.role == "overfit"
        kind = "difference" if compared else "ratio" if result.metric == "length" else "share"
        kinds[kind].append(_interval(result, signed=compared))
    if kinds["difference"]:
        drawn = "Mean score of the same items, after less before; of overfit, trained rows less new ones"
        yield "What changed", drawn, intervals(kinds["difference"], origin=0.0)
    if kinds["share"]:
        yield "What the tuned model does", "Mean score or share of its answers", intervals(kinds["share"], whole=(0, 1))
    if kinds["ratio"]:
        yield "How much it writes", "Tokens of an answer, tuned over base", intervals(kinds["ratio"], origin=1.0)


def _interval(result: Result, *, signed: bool) -> Interval:
    name = f"{result.role} {result.suite}" if result.role != result.suite else result.suite
    return Interval(
        name=name,
        kind=result.metric,
        value=result.value,
        lower=result.lower,
        upper=result.upper,
        at_least=result.at_least,
        at_most=result.at_most,
        asked=asked(result),
        verdict=result.verdict,
        state=STATES[result.verdict],
        signed=signed,
    )


def _worst(results: Iterable[Result], seeds: Sequence[int]) -> Iterator[tuple[Result, list[Shown]]]:
    """What does badly, each item once: under the demands that are not met, then under those that are."""
    seen: set[str] = set()
    for result in sorted(results, key=lambda r: r.verdict in (Verdict.PASS, Verdict.SMOKE)):
        fresh = [item for item in result.worst if item.first.item not in seen]
        fresh = fresh[: SHOWN_OF_PASSED if result.verdict is Verdict.PASS else SHOWN]
        seen |= {item.first.item for item in result.worst}
        if fresh:
            yield result, [_shown(item, result, seeds) for item in fresh]


def _shown(item: Item, result: Result, seeds: Sequence[int]) -> Shown:
    names = ["tuned"] if len(item.tuned) == 1 else [f"tuned, seed {seed}" for seed in seeds]
    sides = [(result.against, item.base), *zip(names, item.tuned, strict=True)]
    replies = tuple(_reply(side, lowest(samples)) for side, samples in sides)
    first = item.first
    prompt, wanted = Text.of(first.prompt), Text.of(expected(item))
    return Shown(
        first.item[:DIGITS], prompt, wanted, first.critical, item.is_lost(low=result.role == "ceiling"), replies
    )


def _reply(side: str, sample: Sample) -> Reply:
    reason = sample.metadata.get("reason")
    why = Text.of(reason) if isinstance(reason, str) and reason else None
    return Reply(side, Text.of(sample.answer), sample.score, not sample.stopped, why)


def _series(losses: Iterable[Losses]) -> Iterator[Series]:
    for run in losses:
        yield Series(f"training, seed {run.seed}", run.train)
        if run.evaluation:
            yield Series(f"held-out rows, seed {run.seed}", run.evaluation, sparse=True)


def _steps(record: JobRecord) -> Iterator[tuple[str, str, str, Sequence[Any], str]]:
    """(name, verdict, state, findings, details) of every step."""
    for name in record.steps:
        outcome = record.outcome(name)
        if outcome is None:
            yield name, "not asked for", "unsure", (), ""
            continue
        hidden = outcome.results or name in SHOWN_ELSEWHERE
        verdict = "not run" if outcome.verdict == BLOCKED else outcome.verdict
        findings = sorted(outcome.findings, key=lambda finding: -finding.severity)
        yield name, verdict, STATES[outcome.verdict], findings, "" if hidden else outcome.details
