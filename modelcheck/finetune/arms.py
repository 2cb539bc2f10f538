"""Arms: other ways to the skill than training. Here: what an arm asks in place of the base's prompt.

An item stays what its row says: its id, question and reference are the row's, whatever an arm puts around them.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from modelcheck.dataset.columns import BadValue, part
from modelcheck.dataset.example import Example, Message, text_of
from modelcheck.errors import UsageError
from modelcheck.finetune import arm_endpoint
from modelcheck.finetune.data import MOST_SHOWN, DataError, JobData
from modelcheck.finetune.evaluation import Evaluation, model_folder
from modelcheck.finetune.job import Arm, Job
from modelcheck.finetune.prompts import Prompts

LEADING = ("system", "developer")
Messages = Sequence[Message]
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Asking:
    """How an arm asks. `shots` are the messages of the examples, the same before every question."""

    system: str | None = None
    shots: tuple[Message, ...] = ()
    context: str | None = None

    def messages(self, item: Example) -> list[Message]:
        """What stands before the answer to an item. Raises DataError where its row lacks the context.

        The arm's system prompt takes the place of the row's own; examples stand between it and the question.
        """
        leading, rest = _parted(item.prompt)
        if self.system is not None:
            leading = [{"role": "system", "content": self.system}]
        return [*leading, *self.shots, *_in_context(rest, self.context, item)]


def asking(arm: Arm, data: JobData, never: Iterable[Example]) -> Asking:
    """How an arm asks; its examples are rows of training that ask nothing that a row of `never` asks.

    Raises UsageError where there are too few of them or the system prompt cannot be read.
    """
    shots = draw(data.own, arm, {question(row) for row in never}) if arm.shots else ()
    shown = _each(arm, shots, lambda row: _in_context(_parted(row.messages)[1], arm.context, row))
    return Asking(_system(arm), tuple(message for messages in shown for message in messages), arm.context)


def draw(rows: Sequence[Example], arm: Arm, never: Collection[str]) -> tuple[Example, ...]:
    """The rows that an arm shows: in the order of its seed, no question twice, one of each answer before a second.

    So labels come equally often, and fewer shots are the first of more. Raises DataError where there are too few.
    """
    usable: dict[str, Example] = {}
    for row in rows:
        if row.answer is not None and (asked := question(row)) not in never:
            usable.setdefault(asked, row)
    left = [*usable.values()]
    if len(left) < arm.shots:
        raise DataError(
            f"arm {arm.name}: shots = {arm.shots}, but training holds {len(left)} rows that have an answer and ask "
            f"nothing that a suite asks: lower shots to {len(left)}, or bring more rows"
        )
    shuffled = random.Random(arm.seed).sample(left, len(left))  # noqa: S311  nothing here is secret
    seen = Counter[str]()
    turns = []
    for row in shuffled:
        answer = text_of(row.messages[-1])
        turns.append(seen[answer])
        seen[answer] += 1
    order = sorted(range(len(left)), key=lambda i: (turns[i], i))
    return tuple(shuffled[i] for i in order[: arm.shots])


def question(row: Example) -> str:
    """What a row asks, for comparing: its prompt without the system prompt."""
    return json.dumps(_parted(row.prompt)[1], sort_keys=True, default=str)


def problems(job: Job, *, fetch: bool = True) -> Iterator[str]:
    """What of the arms is not there: a system prompt's file, a model, which is fetched if it may be, a server."""
    for arm in job.arms:
        try:
            _system(arm)
            if fetch:
                folder(arm, Path())
        except UsageError as reason:
            yield str(reason)
        yield from arm_endpoint.problems(arm, job)


def check_rows(arm: Arm, asks: Asking, items: Iterable[Example]) -> None:
    """Raise DataError with every row that an arm cannot ask."""
    _each(arm, items, asks.messages)


def check_prompts(arm: Arm, asks: Asking, evaluation: Evaluation, prompts: Prompts) -> None:
    """Raise UsageError where a model would not be asked as the arm says: it would be judged by what it never saw."""
    if asks.system is not None:
        [text] = prompts.texts([asks.messages(evaluation.items[0])])
        if asks.system.strip() not in text:
            raise UsageError(
                f"arm {arm.name}: the chat template of {prompts.folder} leaves the system prompt out, so the model "
                "would answer without it: use a template that renders system messages, or drop the arm"
            )
    evaluation.check_length(prompts, f"arm {arm.name}", "take fewer shots or a shorter context")


def differing(arm: Arm) -> tuple[str, ...]:
    """The fields of a manifest in which an arm differs from the base on purpose. All else is held equal."""
    if arm.openai:
        return ("prompts", "weights", "stop_ids", "engine")
    return ("prompts", "weights", "stop_ids") if arm.model else ("prompts",)


def folder(arm: Arm, base: Path) -> Path | None:
    """The folder of the model that answers, None of one behind a server. Raises UsageError where there is none."""
    if arm.openai:
        return None
    return model_folder(arm.model, arm.revision, f"arm {arm.name}: model") if arm.model else base


def _each(arm: Arm, rows: Iterable[Example], make: Callable[[Example], Made]) -> list[Made]:
    """What is made of each row. Raises DataError with every row of which it cannot be made."""
    made, bad = [], []
    for row in rows:
        try:
            made.append(make(row))
        except DataError as error:
            bad.append(f"arm {arm.name}: {error}")
    if bad:
        more = [f"arm {arm.name}: and {len(bad) - MOST_SHOWN} more rows"] if len(bad) > MOST_SHOWN else []
        raise DataError("\n".join([*bad[:MOST_SHOWN], *more]))
    return made


def _system(arm: Arm) -> str | None:
    if not isinstance(arm.system, Path):
        return arm.system
    try:
        text = arm.system.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"arm {arm.name}: system: {arm.system} cannot be read as UTF-8 text: {error}") from None
    if not text:
        raise UsageError(f"arm {arm.name}: system: {arm.system} is empty: write the system prompt into it")
    return text


def _parted(messages: Messages) -> tuple[list[Message], list[Message]]:
    """The system prompt, if there is one, and what follows it."""
    leads = bool(messages) and messages[0].get("role") in LEADING
    return [*messages[:leads]], [*messages[leads:]]


def _in_context(messages: list[Message], pattern: str | None, row: Example) -> list[Message]:
    """The messages with the row's context before its last question."""
    if pattern is None:
        return messages
    last = max((i for i, m in enumerate(messages) if m.get("role") == "user"), default=None)
    if last is None:
        raise DataError(f"{row.place}: no message is the user's, so there is no question to put the context before")
    context, content = _context(pattern, row), messages[last].get("content")
    told = (
        f"{context}\n\n{content}"
        if isinstance(content, str)
        else [{"type": "text", "text": f"{context}\n\n"}, *(content or ())]
    )
    return [*messages[:last], {**messages[last], "content": told}, *messages[last + 1 :]]


def _context(pattern: str, row: Example) -> str:
    """The text of the context: passages that a column lists are put one below the other."""
    try:
        value = part(pattern, row.fields)
    except BadValue as error:
        raise DataError(f"{row.place}: context: {error}") from None
    passages = value if isinstance(value, list) else [value]
    if not all(isinstance(passage, str) for passage in passages if passage is not None):
        raise DataError(f"{row.place}: context: {pattern!r} holds no text, expected a text or a list of texts")
    text = "\n\n".join(passage for passage in passages if passage).strip()
    if not text:
        raise DataError(f"{row.place}: context: {pattern!r} is empty: retrieve a passage for this row, or leave it out")
    return text
