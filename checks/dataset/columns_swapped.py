"""DAT013 columns-swapped."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from modelcheck.check import check
from modelcheck.dataset.example import Example, text_of
from modelcheck.facts.skill import Skill
from modelcheck.finding import Finding, Severity

# Rows of each split that are looked at, and characters of a text.
ROWS, CHARACTERS = 1000, 400
# A text is of the other side if its trigrams speak for it by so many nats each, on average.
SURE = 0.3
# Swapped columns swap more than a few rows, and where the mapping did it, all but those that cannot be told.
MANY, NEARLY_ALL = 0.2, 0.8
Profile = Mapping[str, int]


@check("DAT013", severity=Severity.ERROR)
def columns_swapped(skill: Skill) -> Iterator[Finding]:
    """The training rows ask what evaluation answers, and answer what it asks.

    Symptoms: training runs, and part of the model does not learn; answers are garbage, or worse than they should be

    Why: a column mapping with its two names exchanged trains without a complaint: the loss falls as it should, and the
    model learns to invent questions.

    Common causes:
        - `columns` names the prompt's column as the answer and the other way round. Solution: exchange the two.
        - One of several files has other column names. Solution: give it `columns` of its own.

    Bad:
        ```json train.jsonl
        {"messages": [{"role": "user", "content": "sum 12"}, {"role": "assistant", "content": "add 5 7"}]}
        {"messages": [{"role": "user", "content": "sum 31"}, {"role": "assistant", "content": "add 20 11"}]}
        {"messages": [{"role": "user", "content": "sum 17"}, {"role": "assistant", "content": "add 13 4"}]}
        {"messages": [{"role": "user", "content": "sum 18"}, {"role": "assistant", "content": "add 9 9"}]}
        ```
        ```json eval.jsonl
        {"messages": [{"role": "user", "content": "add 3 4"}, {"role": "assistant", "content": "sum 7"}]}
        {"messages": [{"role": "user", "content": "add 12 9"}, {"role": "assistant", "content": "sum 21"}]}
        {"messages": [{"role": "user", "content": "add 30 5"}, {"role": "assistant", "content": "sum 35"}]}
        {"messages": [{"role": "user", "content": "add 8 16"}, {"role": "assistant", "content": "sum 24"}]}
        ```
    Good:
        ```json train.jsonl
        {"messages": [{"role": "user", "content": "add 5 7"}, {"role": "assistant", "content": "sum 12"}]}
        {"messages": [{"role": "user", "content": "add 20 11"}, {"role": "assistant", "content": "sum 31"}]}
        {"messages": [{"role": "user", "content": "add 13 4"}, {"role": "assistant", "content": "sum 17"}]}
        {"messages": [{"role": "user", "content": "add 9 9"}, {"role": "assistant", "content": "sum 18"}]}
        ```
        ```json eval.jsonl
        {"messages": [{"role": "user", "content": "add 3 4"}, {"role": "assistant", "content": "sum 7"}]}
        {"messages": [{"role": "user", "content": "add 12 9"}, {"role": "assistant", "content": "sum 21"}]}
        {"messages": [{"role": "user", "content": "add 30 5"}, {"role": "assistant", "content": "sum 35"}]}
        {"messages": [{"role": "user", "content": "add 8 16"}, {"role": "assistant", "content": "sum 24"}]}
        ```

    Traps: a task that goes both ways (translation from either language) looks the same in half of its rows where
    evaluation goes one way: a warning, and an error only where nearly all rows are swapped. In a job, replayed rows and
    what guards ask are left out: an old skill may well be the inverse of the new one. Prompts and answers of one kind,
    as in a conversation, cannot be told apart: silent.

    Sources: planted in the tiny job: the loss falls, the new skill is not learned, an old one is lost.
    """
    questions, answers = _profile(skill.asked.examples, 0), _profile(skill.asked.examples, 1)
    if not questions or not answers:
        return
    looked_at = _spread(skill.taught.examples)
    swapped = [row for row in looked_at if _is_swapped(*_sides(row), questions, answers)]
    if len(swapped) > MANY * len(looked_at):
        message = (
            f"in {len(swapped)} of {len(looked_at)} training rows the prompt reads like evaluation's answers and the "
            f"answer like its prompts ({skill.taught.named(swapped)}), expected the same way round: the "
            "model learns to ask what it is to answer; are two columns exchanged?"
        )
        severity = Severity.ERROR if len(swapped) > NEARLY_ALL * len(looked_at) else Severity.WARNING
        yield Finding(message, *skill.taught.place(swapped), severity)


def _spread(rows: Sequence[Example]) -> Sequence[Example]:
    return [row for row in rows[:: max(1, len(rows) // ROWS)] if row.answer is not None and row.prompt]


def _sides(row: Example) -> tuple[str, str]:
    """The last prompt and the answer."""
    return text_of(row.prompt[-1])[:CHARACTERS], text_of(row.messages[-1])[:CHARACTERS]


def _profile(rows: Sequence[Example], side: int) -> Profile:
    return Counter(gram for row in _spread(rows) for gram in _trigrams(_sides(row)[side]))


def _trigrams(text: str) -> Iterator[str]:
    framed = f"\n{text.casefold()}\n"
    return (framed[i : i + 3] for i in range(len(framed) - 2))


def _is_swapped(prompt: str, answer: str, questions: Profile, answers: Profile) -> bool:
    return _nearer(prompt, answers, questions) > SURE and _nearer(answer, questions, answers) > SURE


def _nearer(text: str, to: Profile, than: Profile) -> float:
    """By how many nats each trigram of the text is likelier in one profile than in the other, on average.

    A trigram that neither has says nothing.
    """
    grams, shift = [*_trigrams(text)], math.log(_size(than) / _size(to))
    known = (gram for gram in grams if gram in to or gram in than)
    return sum(math.log((to.get(g, 0) + 0.5) / (than.get(g, 0) + 0.5)) + shift for g in known) / max(1, len(grams))


def _size(profile: Profile) -> float:
    return sum(profile.values()) + 0.5 * len(profile)
