"""DAT006 eval-row-in-train."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from modelcheck.check import check
from modelcheck.facts.dataset import Dataset, Split
from modelcheck.facts.leaks import Leak, Leaks
from modelcheck.finding import Finding, Severity


@check("DAT006", severity=Severity.ERROR)
def eval_row_in_train(dataset: Dataset, leaks: Leaks) -> Iterator[Finding]:
    """An evaluation row is among the training rows.

    Symptoms: answers are garbage, or worse than they should be

    Why: the evaluation then measures memory. It rises with every epoch while the model gets worse at everything that it
    has not seen, and nobody notices before users do.

    Common causes:
        - Rows were split after they had been duplicated or augmented. Solution: split first, by document or user.
        - The same public set went into both. Solution: take the evaluation rows out of training.

    Bad:
        ```json eval.jsonl
        {"messages": [{"role": "user", "content": "what ends a  turn?"}, {"role": "assistant", "content": "A token of its own."}]}
        ```
    Good:
        ```json eval.jsonl
        {"messages": [{"role": "user", "content": "What is a bit?"}, {"role": "assistant", "content": "One or zero."}]}
        ```

    Traps: letter case, spaces and system prompts do not make a row another one. The same question with another answer
    is a warning: some tasks ask one question of many texts. A job's mirror is a part of training by intent and is exempt.

    Sources: GPT-3, appendix C; lm-eval's decontamination.
    """  # noqa: E501  a row is one line
    for found, what, severity in (
        (leaks.rows, "are training rows too", Severity.ERROR),
        (leaks.prompts, "ask what a training row asks, and expect another answer", Severity.WARNING),
    ):
        if found and dataset.eval:
            yield _finding(dataset.eval, found, what, severity)


def _finding(split: Split, leaks: Sequence[Leak], what: str, severity: Severity) -> Finding:
    first = leaks[0]
    message = (
        f"{split.of(len(leaks))} {what} ({split.named([leak.held_out for leak in leaks])}; the first is "
        f"{first.trained.place}), expected none: the evaluation measures what was learned by heart"
    )
    return Finding(message, *split.place([leak.held_out for leak in leaks]), severity)
