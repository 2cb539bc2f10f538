"""What a judge's verdicts say about the judge: unreadable votes, ties, votes that differ, answers left to no judge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from statistics import fmean
from typing import Any

from modelcheck.finetune.samples import Sample


def notes(samples: Iterable[Sample]) -> Iterator[str]:
    """Sentences on judged answers; none where no judge was asked, or where there is nothing to say."""
    answers = [list(s.metadata["verdicts"]) for s in samples if isinstance(s.metadata.get("verdicts"), list)]
    votes = [vote for given in answers for vote in given]
    if unread := votes.count(None):
        yield f"the judge: {unread} of {len(votes)} votes could not be read and are left out"
    if unjudged := sum(given != [] and set(given) == {None} for given in answers):
        yield f"the judge: {unjudged} of {len(answers)} answers have no verdict"
    if empty := answers.count([]):
        yield f"the judge: {empty} of {len(answers)} answers are empty and score 0 without being judged"
    read = [[vote for vote in given if vote is not None] for given in answers]
    if several := [given for given in read if len(given) > 1]:
        rate = fmean(agreeing for given in several for agreeing in _pairs(given))
        tied = sum(_tied(given) for given in several)
        yield f"the judge: two votes on an answer agree in {rate:.1%} of pairs" + (
            f", {tied} answers tied" * bool(tied)
        )


def _pairs(given: Sequence[Any]) -> Iterator[bool]:
    return (a == b for a, b in combinations(given, 2))


def _tied(given: Sequence[Any]) -> bool:
    counts = [count for _, count in Counter(given).most_common(2)]
    return len(counts) == 2 and counts[0] == counts[1]
