"""Before anything is spent: whether the judge answers, its verdict can be read, and it agrees with people."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from modelcheck.errors import UsageError
from modelcheck.finetune.job import Job
from modelcheck.finetune.judge.calibration import SHOWN, agreement
from modelcheck.finetune.judge.judge import Judge
from modelcheck.finetune.judge.question import Case
from modelcheck.finetune.scorers.options import Options

TRIAL = Case("What is 2 + 2?", "It gives the sum and nothing wrong beside it.", "4", "2 + 2 is 4.")


@dataclass(frozen=True, slots=True)
class Tried:
    """What is wrong with the judges of a job, and what else is to be said of them."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def tried(job: Job, cache: Path) -> Tried:
    """Every judge of a job, asked once, and its calibration set. Suites that share a judge ask it together."""
    found, known = Tried(), list[object]()
    for suite in job.suites:
        if suite.scorer.type == "judge" and suite.scorer not in known:
            known.append(suite.scorer)
            table = {name: value for name, value in suite.scorer.settings.items() if name != "type"}
            options = Options(table, job.place(suite), cache)
            try:
                judge = Judge.of(options)
                options.finish()
                found.notes.extend(_asked(judge, options.place))
                found.problems.extend(_calibrated(judge, options.place, found.notes))
            except UsageError as error:
                text = str(error)
                found.problems.append(text if text.startswith(options.place) else f"{options.place}: {text}")
    return found


def _asked(judge: Judge, place: str) -> Iterator[str]:
    """A real question, even if every verdict is known: it proves the key, the model and that its replies can be read.

    Raises UsageError.
    """
    settings = judge.settings
    said, vote = judge.reply(TRIAL)
    if vote is None:
        raise UsageError(f"{place}: {judge.unread(said, 'on a trial, without')}")
    if judge.asked.left_out:
        yield f"{place}: the judge takes no {' and no '.join(judge.asked.left_out)}: its own defaults hold"
    if settings.votes > 1 and settings.temperature == 0:
        yield f"{place}: {settings.votes} votes at temperature 0 show only how far the server itself drifts"


def _calibrated(judge: Judge, place: str, notes: list[str]) -> Iterator[str]:
    settings = judge.settings
    if settings.calibration is None:
        notes.append(f"{place}: nobody has seen whether the judge agrees with people: add calibration")
        return
    found = agreement(judge, settings.calibration)
    notes.append(f"{place}: the judge's calibration: {found}")
    if found.rate < settings.min_agreement:
        shown = [f"  {line}" for line in found.disagreements[:SHOWN]]
        more = [f"  and {len(found.disagreements) - SHOWN} more"] if len(found.disagreements) > SHOWN else []
        asked = f"min_agreement = {settings.min_agreement:g} is asked: mend the prompt, or take a better judge"
        yield "\n".join([f"{place}: {found}, {asked}", *shown, *more])
