"""What of the evaluation rows is in the training rows: whole rows, prompts, and runs of words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelcheck.dataset.example import Example, text_of
from modelcheck.fact import NotApplicable, fact

from .dataset import Dataset

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WORD = re.compile(r"\w+")
# As in GPT-3's filter: what so many training rows share is no leak but a phrase of the instruction.
COMMON = 10
# Runs of words of the evaluation rows that are looked for: 32 MB of numbers.
MOST_RUNS = 4_000_000
FACTOR = 0x9E3779B97F4A7C15


@dataclass(frozen=True, slots=True)
class Leak:
    """An evaluation row and a training row; `shared` is what both say, empty where it is the whole row."""

    held_out: Example
    trained: Example
    shared: str = ""


@dataclass(frozen=True, slots=True)
class Leaks:
    """`rows` share prompt and reference, `prompts` the prompt alone, `overlaps` a run of words; each row in one."""

    rows: tuple[Leak, ...]
    prompts: tuple[Leak, ...]
    overlaps: tuple[Leak, ...]


@fact
def leaks(dataset: Dataset) -> Leaks:
    """Which evaluation rows training has seen, letter case, spaces and system prompts aside."""
    if dataset.train is None or dataset.eval is None:
        raise NotApplicable("there are not both training and evaluation rows")
    trained, held_out = dataset.train.examples, dataset.eval.examples
    prompts = {_prompt(row): row for row in reversed(trained)}
    whole = {(_prompt(row), _reference(row)): row for row in reversed(trained)}
    rows: list[Leak] = []
    of_prompts: list[Leak] = []
    others: list[Example] = []
    for row in held_out:
        prompt = _prompt(row)
        if found := whole.get((prompt, _reference(row))):
            rows.append(Leak(row, found))
        elif prompt in prompts:
            # A row without an answer of its own is there as a whole.
            (of_prompts if row.reference is not None else rows).append(Leak(row, prompts[prompt]))
        else:
            others.append(row)
    return Leaks(tuple(rows), tuple(of_prompts), tuple(_overlaps(others, trained, dataset.ngram)))


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


def _prompt(row: Example) -> str:
    if row.text is not None:
        return _plain(row.text)
    return "\n".join(f"{m['role']}: {_plain(text_of(m))}" for m in row.prompt if m["role"] != "system")


def _reference(row: Example) -> str:
    return _plain(str(row.reference))


def _words(row: Example) -> list[str]:
    texts = [row.text or "", *(text_of(m) for m in row.messages if m["role"] != "system")]
    return WORD.findall("\n".join(texts).casefold())


def _overlaps(held_out: Sequence[Example], trained: Sequence[Example], length: int) -> list[Leak]:
    import numpy as np

    runs = _bounded([(row, np.unique(_runs(_words(row), length))) for row in held_out])
    wanted, in_rows = np.unique(np.concatenate([np.empty(0, np.uint64), *(r for _, r in runs)]), return_counts=True)
    if not len(wanted):
        return []
    counts, first = np.zeros(len(wanted), np.int64), np.full(len(wanted), -1)
    for i, row in enumerate(trained):
        here = _runs(_words(row), length)
        at = np.minimum(np.searchsorted(wanted, here), len(wanted) - 1)
        at = np.unique(at[wanted[at] == here])
        counts[at] += 1
        first[at[first[at] < 0]] = i
    common = min(COMMON, max(1, len(trained) // 2))
    leaked = (counts > 0) & (counts <= common) & (in_rows <= max(1, len(held_out) // 2))
    found = []
    for row, own in runs:
        at = np.searchsorted(wanted, own)
        if (hits := at[leaked[at]]).size:
            other = trained[int(first[hits].min())]
            found.append(Leak(row, other, _shared(row, other, length)))
    return found


def _bounded(runs: Sequence[tuple[Example, NDArray[np.uint64]]]) -> Sequence[tuple[Example, NDArray[np.uint64]]]:
    room = MOST_RUNS
    kept = []
    for row, own in runs:
        room -= len(own)
        if room < 0:
            break
        kept.append((row, own))
    return kept


def _runs(words: Sequence[str], length: int) -> NDArray[np.uint64]:
    """A number for each run of `length` words: the same for the same words, by chance for no others."""
    import numpy as np

    hashes = np.fromiter(map(hash, words), np.int64, len(words)).view(np.uint64)
    count = max(0, len(words) - length + 1)
    numbers = np.zeros(count, np.uint64)
    for i in range(length):
        numbers = numbers * np.uint64(FACTOR) + hashes[i : i + count]
    return numbers


def _shared(row: Example, other: Example, length: int) -> str:
    """The first run of words that two rows share."""
    words, theirs = _words(row), _words(other)
    known = {tuple(theirs[i : i + length]) for i in range(len(theirs) - length + 1)}
    runs = (words[i : i + length] for i in range(len(words) - length + 1))
    return " ".join(next((run for run in runs if tuple(run) in known), []))
