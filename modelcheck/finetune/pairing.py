"""Two or more runs over the same items, joined strictly: what does not fit is refused, never dropped."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelcheck.errors import UsageError
from modelcheck.finetune.samples import Sample


class NotComparable(UsageError):
    """Two runs do not answer the same question, so that no difference between them means anything."""


@dataclass(frozen=True, slots=True)
class Item:
    """One item in every run: the samples of its repeats, in order, before and after; `tuned` is one list a seed."""

    base: tuple[Sample, ...]
    tuned: tuple[tuple[Sample, ...], ...]

    @property
    def first(self) -> Sample:
        """A sample that has what belongs to the item itself: prompt, reference, cluster, slice."""
        return self.base[0]

    @property
    def cluster(self) -> tuple[str, str]:
        """The key of the independent unit that the item belongs to: its cluster, or itself."""
        return unit(self.first)

    @property
    def before(self) -> float:
        """The mean score of the base."""
        return mean(s.score for s in self.base)

    @property
    def after(self) -> float:
        """The mean score over training runs and repeats."""
        return mean(s.score for run in self.tuned for s in run)

    @property
    def difference(self) -> float:
        """After less before, in [-1, 1]."""
        return self.after - self.before

    def is_lost(self, *, low: bool = False) -> bool:
        """Always right before and always wrong after one of the training runs.

        Right is a score of a half or more; where scores are to stay `low`, as under a ceiling, one below.
        """
        right = all((s.score < 0.5) == low for s in self.base)
        return right and any(all((s.score < 0.5) != low for s in run) for run in self.tuned)


def mean(values: Iterable[float]) -> float:
    """The mean of some numbers, the same in any order."""
    numbers = list(values)
    return math.fsum(numbers) / len(numbers)


def unit(sample: Sample) -> tuple[str, str]:
    """The key of a sample's independent unit."""
    return ("item", sample.item) if sample.cluster is None else ("cluster", sample.cluster)


def by_item(samples: Iterable[Sample], run: str) -> dict[str, tuple[Sample, ...]]:
    """{item: its samples by repeat}, sorted by item. Raises NotComparable for an empty or an unfinished run."""
    items: dict[str, list[Sample]] = {}
    for sample in samples:
        items.setdefault(sample.item, []).append(sample)
    if not items:
        raise NotComparable(f"{run} has no samples: evaluate it first")
    repeats = max(len(found) for found in items.values())
    for item, found in items.items():
        if sorted(s.repeat for s in found) != list(range(repeats)):
            have = ", ".join(str(s.repeat) for s in sorted(found, key=lambda s: s.repeat))
            problem = f"item {item[:12]} has the repeats {have}, expected 0 to {repeats - 1}"
            raise NotComparable(f"{run} is not complete: {problem}; run its evaluation again, which resumes")
    return {item: tuple(sorted(items[item], key=lambda s: s.repeat)) for item in sorted(items)}


def pair(base: Iterable[Sample], *tuned: Iterable[Sample], same_prompts: bool = True) -> list[Item]:
    """The items of all runs, sorted. Raises NotComparable where runs differ in items, prompts or repeats.

    Without `same_prompts` they may be asked in other words: an arm's.
    """
    before = by_item(base, "base")
    runs = [by_item(run, "tuned" if len(tuned) == 1 else f"tuned run {n}") for n, run in enumerate(tuned)]
    for run in runs:
        _same_items(before, run)
        for item, found in run.items():
            _same_item(before[item][0], found[0])
            if same_prompts and before[item][0].prompt_ids != found[0].prompt_ids:
                raise NotComparable(f"not comparable: {_first_difference(before[item][0], found[0])}")
        a, b = (len(next(iter(r.values()))) for r in (before, run))
        if a != b:
            raise NotComparable(f"not comparable: base has {a} repeats an item and tuned {b}; evaluate both alike")
    return [Item(found, tuple(run[item] for run in runs)) for item, found in before.items()]


def _same_items(base: Mapping[str, Any], tuned: Mapping[str, Any]) -> None:
    gone, new = sorted(base.keys() - tuned.keys()), sorted(tuned.keys() - base.keys())
    if gone or new:
        sides = [
            f"{len(items)} items only in {side} ({', '.join(i[:12] for i in items[:3])}{', ...' * (len(items) > 3)})"
            for side, items in (("base", gone), ("tuned", new))
            if items
        ]
        remedy = "evaluate both on the same file; an item is its prompt messages and its reference"
        raise NotComparable(f"not comparable: {' and '.join(sides)}; {remedy}")


def _same_item(base: Sample, tuned: Sample) -> None:
    for name in ("cluster", "slice", "critical", "reference"):
        a, b = getattr(base, name), getattr(tuned, name)
        if a != b:
            problem = f"{name} of item {base.item[:12]} is {a!r} in base and {b!r} in tuned"
            raise NotComparable(f"not comparable: {problem}; evaluate both on the same file")


def _first_difference(base: Sample, tuned: Sample) -> str:
    a, b = base.prompt_ids, tuned.prompt_ids
    place = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    x, y = (str(ids[place]) if place < len(ids) else "the end" for ids in (a, b))
    where = f"the prompt of item {base.item[:12]} differs from token {place} on ({x} in base, {y} in tuned)"
    return f"{where}: the two sides were given different prompts; use one tokenizer, chat template and template_args"


def check_servers(base: Mapping[str, Any], tuned: Mapping[str, Any]) -> None:
    """Raise NotComparable where a server says that one model answered for both, whichever it was asked for.

    `base` and `tuned` are what their engines found. A name that is the end of both folders says nothing.
    """
    before, after = (side.get("server", {}) for side in (base, tuned))
    told, asked = before.get("told"), (before.get("model"), after.get("model"))
    if told and told == after.get("told") and not all(str(name).endswith(told) for name in asked):
        raise NotComparable(
            f"the server was asked for {asked[0]!r} and {asked[1]!r} and says that {told!r} answered both times, "
            "expected two models: a model would be compared with itself: let serve start it for each, or "
            "name a server that loads any folder that a request names"
        )


def check_manifests(base: Mapping[str, Any], tuned: Mapping[str, Any], differing: Sequence[str] = ("weights",)) -> None:
    """Refuse two runs whose manifests differ in a field, but for those that are meant to (`weights`).

    A manifest is flat or nested JSON; nested fields are named with dots. Raises NotComparable with every field.
    """
    a, b = (_flat(manifest) for manifest in (base, tuned))
    lines = [
        f"  {name}: {_shown(a, name)} in base, {_shown(b, name)} in tuned"
        for name in sorted(a.keys() | b.keys())
        if name.split(".")[0] not in differing and a.get(name, NOTHING) != b.get(name, NOTHING)
    ]
    if lines:
        remedy = "evaluate both sides again with the same settings"
        raise NotComparable("\n".join([f"not comparable: the manifests differ; {remedy}", *lines]))


NOTHING = object()


def _flat(manifest: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in manifest.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def _shown(flat: Mapping[str, Any], name: str) -> str:
    return repr(flat[name]) if name in flat else "nothing"
