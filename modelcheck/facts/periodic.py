"""Holes in the repeated parts of any model, known or not: layers of one kind have the same tensors."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

Shape = tuple[int, ...]
Layer = Mapping[str, Shape | None]
NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")
# So many layers of one kind make it a kind; so many tensors may lack, or be odd, before it is a kind of its own.
KIND, FEW = 4, 2
# A layer of fewer tensors than this is too small to say what is usual.
SMALL = 4


@dataclass(frozen=True, slots=True)
class Gap:
    """A tensor that is not there (`found` is None), or has another shape than `expected`; None: nobody knows it."""

    name: str
    expected: Shape | None
    found: Shape | None = None


def periodic_gaps(shapes: Mapping[str, Shape | None]) -> list[Gap]:
    """What is missing or odd in one layer (or expert) of many that are otherwise alike; a shape of None is unknown."""
    gaps: dict[str, Gap] = {}
    for stack, layers in _stacks(shapes).items():
        for gap in _in_stack(stack, layers):
            gaps.setdefault(gap.name, gap)
    return list(gaps.values())


def _stacks(shapes: Mapping[str, Shape | None]) -> dict[str, dict[int, dict[str, Shape | None]]]:
    """{what is before a number: {number: {what is after it: shape}}}."""
    stacks: dict[str, dict[int, dict[str, Shape | None]]] = defaultdict(lambda: defaultdict(dict))
    for name, shape in shapes.items():
        for match in NUMBER.finditer(name):
            stacks[name[: match.start()]][int(match[0])][name[match.end() :]] = shape
    return stacks


def _in_stack(stack: str, layers: Mapping[int, Layer]) -> Iterator[Gap]:
    kinds: dict[frozenset[str], list[int]] = defaultdict(list)
    for number, layer in layers.items():
        kinds[frozenset(layer)].append(number)
    common = [kind for kind, numbers in kinds.items() if len(numbers) >= KIND and len(kind) >= SMALL]
    for kind in common:
        yield from _odd_shapes(stack, kind, {number: layers[number] for number in kinds[kind]})
    # The first and the last layer of a healthy model may lack what the others have.
    inner = set(layers) - {min(layers), max(layers)}
    for names, numbers in kinds.items():
        if len(numbers) == 1 and numbers[0] in inner and (near := _nearest(names, common)):
            alike = layers[kinds[near][0]]
            for suffix in sorted(near - names):
                yield Gap(f"{stack}{numbers[0]}{suffix}", alike[suffix])


def _nearest(names: frozenset[str], common: Sequence[frozenset[str]]) -> frozenset[str] | None:
    """The kind that this layer is of but for a few tensors that it lacks or that have another name."""
    near = [kind for kind in common if 0 < len(kind - names) <= FEW and len(names - kind) <= len(kind - names)]
    return min(near, key=lambda kind: len(kind ^ names), default=None)


def _odd_shapes(stack: str, kind: frozenset[str], layers: Mapping[int, Layer]) -> Iterator[Gap]:
    odd: dict[int, list[tuple[str, Shape]]] = defaultdict(list)
    for suffix in sorted(kind):
        known = {number: shape for number, layer in layers.items() if (shape := layer[suffix]) is not None}
        [(usual, count), *others] = Counter(known.values()).most_common() or [((), 0)]
        # One layer differs and all others agree: else they are meant to differ.
        if len(others) == 1 and others[0][1] == 1 and count >= KIND - 1:
            [number] = [number for number, shape in known.items() if shape != usual]
            odd[number].append((suffix, usual))
    for number, suffixes in odd.items():
        # Pruned models have whole blocks of another width: several tensors that change together.
        if len({suffix.rpartition(".")[0] for suffix, _ in suffixes}) == 1:
            for suffix, usual in suffixes:
                yield Gap(f"{stack}{number}{suffix}", usual, layers[number][suffix])
