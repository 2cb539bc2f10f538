"""Express the headers of several probes as patterns: names over layers and experts, dimensions over config keys."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tensor_families import Family
from tensor_probe import Probe

from modelcheck.facts.expressions import Unanswerable, evaluate

Entry = dict[str, Any]
Found = Mapping[tuple[int, ...], tuple[int, ...]]  # the numbers in a name, and the shape of that tensor
NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")
# A dimension of this size may be a constant; a larger one must come from the config.
CONSTANT = 4
# These say which layers there are, not how large anything is.
NO_SIZE = ("num_hidden_layers", "n_layer", "first_k_dense_replace", "decoder_sparse_step")


class Unfit(Exception):
    """No expression over the config explains what was saved."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one probe saved under one pattern."""

    config: Mapping[str, Any]
    switches: Mapping[str, bool]
    found: Found


def fit(family: Family, probes: Sequence[Probe]) -> list[Entry]:
    """The entries of a table, in the order of the model. Raises Unfit."""
    parts = [_parts(probe) for probe in probes]
    patterns = dict.fromkeys(pattern for part in parts for pattern in part)
    entries = []
    for pattern in patterns:
        samples = [Sample(p.config, p.switches, part.get(pattern, {})) for p, part in zip(probes, parts, strict=True)]
        entries += [{"name": pattern, **rest} for rest in _split(family, pattern, samples, tuple(family.switches))]
    return entries


def _parts(probe: Probe) -> dict[str, dict[tuple[int, ...], tuple[int, ...]]]:
    parts: dict[str, dict[tuple[int, ...], tuple[int, ...]]] = {}
    for name, shape in probe.header.items():
        numbers = tuple(int(text) for text in NUMBER.findall(name))
        words = iter(("{layer}", "{expert}"))
        pattern = NUMBER.sub(lambda _, words=words: next(words), name)  # type: ignore[misc]
        parts.setdefault(pattern, {})[numbers] = shape
    return parts


def _split(family: Family, pattern: str, samples: Sequence[Sample], switches: Sequence[str]) -> list[Entry]:
    """One entry for all samples or, where none fits, those of the two sides of the switch that needs the fewest."""
    if not any(sample.found for sample in samples):
        return []
    try:
        return [_leaf(family, samples)]
    except Unfit:
        if not switches:
            raise
    attempts = []
    for switch in switches:
        rest = [other for other in switches if other != switch]
        try:
            attempts.append(
                [
                    {**entry, "when": [word, *entry.get("when", ())]}
                    for on, word in ((True, switch), (False, f"not {switch}"))
                    for entry in _split(family, pattern, [s for s in samples if s.switches[switch] is on], rest)
                ]
            )
        except Unfit as unfit:
            last = unfit
    if not attempts:
        raise Unfit(f"{pattern}: {last}")
    return min(attempts, key=len)


def _leaf(family: Family, samples: Sequence[Sample]) -> Entry:
    if not all(sample.found for sample in samples):
        raise Unfit("there in some samples")
    shapes = [set(sample.found.values()) for sample in samples]
    if any(len(shape) > 1 for shape in shapes) or len({len(next(iter(shape))) for shape in shapes}) > 1:
        raise Unfit("several shapes")
    values = zip(*(next(iter(shape)) for shape in shapes), strict=True)
    entry: Entry = {"shape": ", ".join(_dimension(family, samples, value) for value in values)}
    numbers = [list(zip(*sample.found, strict=True)) for sample in samples]
    if not numbers[0]:
        return entry
    entry |= _layers(family, samples, [set(columns[0]) for columns in numbers])
    if len(numbers[0]) > 1:
        experts = [set(columns[1]) for columns in numbers]
        for sample, layers, others in zip(samples, numbers, experts, strict=True):
            if set(sample.found) != set(itertools.product(set(layers[0]), others)):
                raise Unfit("not every layer has the same experts")
        if any(others != set(range(len(others))) for others in experts):
            raise Unfit("the experts have a hole")
        entry["experts"] = _dimension(family, samples, [len(others) for others in experts])
    return entry


def _layers(family: Family, samples: Sequence[Sample], layers: Sequence[set[int]]) -> Entry:
    count = depth(family)
    for condition in (None, *family.layers, *(f"not ({text})" for text in family.layers)):
        if all(_those(sample, count, condition) == those for sample, those in zip(samples, layers, strict=True)):
            return {"layers": condition} if condition else {}
    raise Unfit(f"no condition gives the layers {layers[:3]}")


def depth(family: Family) -> str:
    """The key that counts the layers."""
    return next(key for key in ("num_hidden_layers", "n_layer") if key in family.dimensions)


def _those(sample: Sample, count: str, condition: str | None) -> set[int]:
    every = range(sample.config[count])
    if condition is None:
        return set(every)
    return {layer for layer in every if evaluate(condition, {**sample.config, "layer": layer}.__getitem__)}


def _dimension(family: Family, samples: Sequence[Sample], values: Sequence[int]) -> str:
    if len(set(values)) == 1 and values[0] <= CONSTANT:
        return str(values[0])
    for candidates in _candidates(family, samples[0].config, values[0]):
        fitting = [text for text in candidates if _fits(text, samples, values)]
        elsewhere = {_elsewhere(family, text) for text in fitting}
        if len(elsewhere) > 1:
            raise Unfit(f"the probes do not tell apart {fitting}")
        if fitting:
            return fitting[0]
    raise Unfit(f"no expression gives {values[:4]}")


def _fits(text: str, samples: Sequence[Sample], values: Sequence[int]) -> bool:
    try:
        pairs = zip(samples, values, strict=True)
        return all(evaluate(text, sample.config.__getitem__) == value for sample, value in pairs)
    except (Unanswerable, KeyError):
        return False


def _elsewhere(family: Family, text: str) -> int:
    """The value in a config that nobody probed: its dimensions have nothing to do with one another."""
    draw = random.Random(1)
    far = {key: draw.randrange(100, 200) for key in family.dimensions}
    for heads, width in (("num_attention_heads", "hidden_size"), ("n_head", "n_embd")):
        if heads in far:
            far[width] *= far[heads]
    return int(evaluate(text, far.__getitem__))


def _candidates(family: Family, config: Mapping[str, Any], wanted: int) -> Iterator[list[str]]:
    """Expressions of that value in one sample, those of one form together, the simplest first."""
    sizes = {key: config[key] for key, three in family.dimensions.items() if type(three[0]) is int}
    sizes = {key: value for key, value in sizes.items() if value is not None and key not in NO_SIZE}
    sizes |= {f"({text})": evaluate(text, config.__getitem__) for text in family.derived}
    pairs = list(itertools.combinations_with_replacement(sizes.items(), 2))
    yield [a.strip("()") for a, x in sizes.items() if x == wanted]
    yield [f"{a} * {b}" for (a, x), (b, y) in pairs if x * y == wanted]
    yield [f"{n} * {a}" for n in (2, 3, 4) for a, x in sizes.items() if n * x == wanted]
    yield [f"{a} + {b}" for (a, x), (b, y) in pairs if x + y == wanted]
    yield [f"{n} * {a} * {b}" for n in (2, 3) for (a, x), (b, y) in pairs if n * x * y == wanted]
    yield list(_triples(list(sizes.items()), wanted))


def _triples(sizes: Sequence[tuple[str, int]], wanted: int) -> Iterator[str]:
    for (a, x), (b, y) in itertools.permutations(sizes, 2):
        if x * (y + 2) == wanted:
            yield f"{a} * ({b} + 2)"
    for (a, x), (b, y), (c, z) in itertools.permutations(sizes, 3):
        if x * (y + z) == wanted:
            yield f"{a} * ({b} + {c})"
        if x * (y + 2 * z) == wanted:
            yield f"{a} * ({b} + 2 * {c})"
        if x + 2 * y * z == wanted:
            yield f"{a} + 2 * {b} * {c}"
