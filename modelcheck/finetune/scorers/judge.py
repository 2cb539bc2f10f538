"""The scorer that asks a model."""

from __future__ import annotations

from modelcheck.finetune.scorers.options import InLots, Options


def judge(options: Options) -> InLots:
    """The verdict of a model on the answer, the mean of its votes from 0 to 1 (`modelcheck.finetune.judge`)."""
    # Imported late: it is itself made of what scorers are made of.
    from modelcheck.finetune.judge.judge import Judge

    made = Judge.of(options)
    # More votes are more of the same; another prompt is another judge.
    decides = {**made.settings.key, "votes": made.settings.votes}
    return InLots(made.scores, made.asked.lot, decides)
