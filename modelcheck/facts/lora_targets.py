"""What PEFT makes of a LoRA configuration on a base model: which layers it wraps, and what it finds nothing for.

Read in peft 0.21: tuners/tuners_utils.py (inject_adapter, check_target_module_exists), utils/other.py (_set_trainable),
utils/transformers_weight_conversion.py.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from modelcheck.fact import Malformed, Missing, fact

from .adapter_config import Lora
from .base_modules import BaseModules
from .patterns import TAME, BadPattern, TooMany, full_matches

SUPPORTED = frozenset({"linear", "embedding", "convolution"})
# Names that exist only inside PEFT: listed out of habit, they can match nothing and harm nothing.
INTERNAL = re.compile(r"(.*\.)?(lora_\w+|modules_to_save|base_layer|original_module|token_adapter)(\..*)?")
# Levels of a module's name.
DEEPEST = 40
HALF = "is targeted without"
# What models in memory put before names that a file may have without it.
PLAIN = ("model.", "transformer.")
NESTED = ("model.", "language_model.model.", "model.language_model.", "model.language_model.model.", "language_model.")
WRAPPER = re.compile(r"((model|language_model)\.)+")


@dataclass(frozen=True, slots=True)
class LoraTargets:
    """What LoRA is put on.

    `modules` and `parameters` by full name. `hits`: {entry of target_modules: the modules it matches}, before
    exclusions. `parameter_hits` and `saved_hits`: the same of target_parameters and modules_to_save. `refused`: the
    error that PEFT raises, None where it trains. `passed_over`: layers that the list names and that PEFT's rewriting
    for experts leaves out. `idle_ranks`: keys of rank_pattern that fit none of them. `ranks`: of each module.
    """

    modules: frozenset[str]
    parameters: frozenset[str]
    hits: Mapping[str, tuple[str, ...]]
    parameter_hits: Mapping[str, tuple[str, ...]]
    saved_hits: Mapping[str, tuple[str, ...]]
    refused: str | None = None
    passed_over: tuple[str, ...] = ()
    idle_ranks: tuple[str, ...] = ()
    ranks: Mapping[str, int] = field(default_factory=dict)


@fact
def lora_targets(lora: Lora, base_modules: BaseModules) -> LoraTargets:
    """What PEFT would wrap on this base."""
    if lora.targets is None and not lora.parameters:
        raise Missing("target_modules is null, so PEFT chooses by a table of its own", remedy="name the target modules")
    try:
        return _Matcher(lora, base_modules).result()
    except BadPattern as bad:
        raise Malformed(lora.file, f"a pattern of it {bad}") from bad
    except TooMany as many:
        raise Missing(str(many)) from many


def ends_with(names: Iterable[str], entries: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """{entry: the names that it means, those equal to it or ending in a dot and it}, in one pass over the names."""
    found: dict[str, list[str]] = {entry: [] for entry in entries}
    for name in names:
        start = len(name)
        for _ in range(DEEPEST):
            start = name.rfind(".", 0, start)
            if name[start + 1 :] in found:
                found[name[start + 1 :]].append(name)
            if start < 0:
                break
    return {entry: tuple(matched) for entry, matched in found.items()}


class _Matcher:
    def __init__(self, lora: Lora, base: BaseModules) -> None:
        self.lora, self.base = lora, base
        self.names = list(base.names())
        self.patterns = dict(lora.rank_pattern)

    def result(self) -> LoraTargets:
        lora, base = self.lora, self.base
        excluded = self._excluded()
        entries, parameters, refused = self._converted(excluded)
        matched = self._all_linear() if entries is None else self._matched(entries)
        found = ends_with(base.parameters, parameters)
        wrapped = frozenset(name for names in found.values() for name in names)
        hits = self._hits()
        # What matches only under names that the model in memory may have decides nothing.
        plainly = matched or any(ends_with(self.names, lora.listed).values())
        unsure = any(hits.values()) and not plainly and not parameters
        modules = (frozenset(n for names in hits.values() for n in names) if unsure else matched) - excluded
        named = {name for names in hits.values() for name in names if self._is_trainable(name)}
        if not base.conversions:
            named = set()
        return LoraTargets(
            frozenset(n for n in modules if self._is_trainable(n)),
            wrapped,
            hits,
            ends_with(base.parameters, lora.parameters),
            {e: tuple(n for n in self.names if n.endswith(e)) for e in lora.saved},
            refused or (None if unsure else self._refused(modules, wrapped)),
            tuple(sorted(named - modules - excluded - {p.rpartition(".")[0] for p in wrapped})),
            *self._ranks(modules | wrapped),
        )

    def _is_trainable(self, name: str) -> bool:
        return name in self.base.layers and self.base.layers[name].kind in SUPPORTED

    def _hits(self) -> dict[str, tuple[str, ...]]:
        variants = self._variants()
        if isinstance(self.lora.targets, str):
            if self.lora.all_linear:
                return {self.lora.targets: tuple(self._all_linear())}
            [names] = full_matches([self.lora.targets], variants)
            return {self.lora.targets: tuple(dict.fromkeys(variants[n] for n in names))}
        found = ends_with(variants, self.lora.listed)
        return {entry: tuple(dict.fromkeys(variants[n] for n in names)) for entry, names in found.items()}

    def _variants(self) -> dict[str, str]:
        """{name as the model in memory may have it: name in the file}, where the targets are more than last names."""
        variants = {name: name for name in self.names}
        if not isinstance(self.lora.targets, str) and not any("." in entry for entry in self.lora.listed):
            return variants
        if self.base.nested:
            stems = {name: WRAPPER.sub("", name) for name in self.names}
            return variants | {prefix + stem: name for name, stem in stems.items() for prefix in NESTED}
        bare = [name for name in self.names if not name.startswith(PLAIN)]
        return variants | {prefix + name: name for name in bare for prefix in PLAIN}

    def _all_linear(self) -> frozenset[str]:
        layers = self.base.layers
        return frozenset(n for n, module in layers.items() if module.kind == "linear" and n != self.base.head)

    def _matched(self, entries: Collection[str] | str) -> frozenset[str]:
        if isinstance(entries, str):
            return frozenset(full_matches([entries], self.names)[0])
        if not entries:
            return frozenset()
        exact = set(entries) & set(self.names)
        ending = {name for names in ends_with(self.names, entries).values() for name in names}
        return frozenset(exact | self._in_layers(ending - exact))

    def _in_layers(self, names: set[str]) -> set[str]:
        """Those of the names that lie in one of `layers_to_transform`."""
        if not self.lora.layers:
            return names
        kept, layers = set(), set(self.lora.layers)
        if not all(map(TAME.fullmatch, self.lora.layers_pattern)):
            raise Missing("layers_pattern holds regular expressions, expected the name of the list of layers")
        patterns = [rf"(?:^|.*?\.){p}\.(\d+)\." for p in self.lora.layers_pattern] or [r".*?\.[^.]*\.(\d+)\."]
        for name in names:
            # The first number counts: that of the layer, not of an expert in it.
            match = next((m for m in (re.match(p, name) for p in patterns) if m), None)
            if match and int(match[1]) in layers:
                kept.add(name)
        return kept

    def _excluded(self) -> frozenset[str]:
        lora = self.lora
        if isinstance(lora.excluded, str):
            found = set(full_matches([lora.excluded], self.names)[0])
        else:
            found = {name for names in ends_with(self.names, lora.excluded).values() for name in names}
        # PEFT takes the entries of modules_to_save for regular expressions here, and for endings elsewhere.
        return frozenset(found.union(*full_matches(lora.saved, self.names, r"(|.*\.){}(|\..*)")))

    def _converted(self, excluded: Collection[str]) -> tuple[Collection[str] | str | None, frozenset[str], str | None]:
        """(targets, parameters, error) as PEFT rewrites them for experts that transformers 5 stacks."""
        lora, conversions = self.lora, self.base.conversions
        targets = None if lora.all_linear else lora.targets or ()
        given = frozenset(lora.parameters)
        if not conversions:
            return targets, given, None
        if lora.all_linear:
            resolved = {n.rpartition(".")[2] for n in self._all_linear()} | conversions.keys()
        elif isinstance(lora.targets, str):
            resolved = self._resolved(lora.targets, excluded)
            if not resolved:
                return targets, given, None
        else:
            resolved = set(lora.listed)
        old = {entry: name for entry in resolved if (name := _last_of(entry, conversions))}
        parameters = given | {conversions[name] for name in old.values()}
        if _pair(conversions) <= {*old.values()}:  # one tensor for two: PEFT doubles the rank
            self.patterns |= {r".*\.gate_up_proj": 2 * lora.rank}
        return resolved - old.keys(), parameters, _half_fused(set(old.values()), conversions)

    def _resolved(self, pattern: str, excluded: Collection[str]) -> set[str]:
        """The last names of what a regular expression matches, the experts that were there before among them."""
        names = [*self.names, *self.base.parameters]
        probes = {
            f"{parameter.rpartition('.')[0]}.{old}": old
            for old, new in self.base.conversions.items()
            for parameter in self.base.parameters
            if parameter.rpartition(".")[2] == new
        }
        found = full_matches([pattern], [*names, *probes])[0]
        return {n.rpartition(".")[2] for n in found if n not in excluded}

    def _refused(self, modules: Collection[str], parameters: Collection[str]) -> str | None:
        if not modules and not parameters:
            return "no module or parameter of the base matches"
        wrong = sorted(n for n in modules if not self._is_trainable(n))
        return f"{wrong[0]!r} is no layer that LoRA can be put on" if wrong else None

    def _ranks(self, names: Collection[str]) -> tuple[tuple[str, ...], dict[str, int]]:
        """The patterns that fit nothing, and the rank of each module: the first pattern that fits decides."""
        ranks: dict[str, int] = {}
        keys, idle = list(self.patterns), []
        for key, found in zip(keys, full_matches(keys, names, r"(.*\.)?({})"), strict=True):
            ranks |= {name: self.patterns[key] for name in found if name not in ranks}
            idle += [] if found else [key]
        return tuple(idle), {name: ranks.get(name, self.lora.rank) for name in names}


def _last_of(entry: str, conversions: Mapping[str, str]) -> str | None:
    return next((old for old in conversions if entry == old or entry.endswith(f".{old}")), None)


def _half_fused(old: Collection[str], conversions: Mapping[str, str]) -> str | None:
    pair = _pair(conversions)
    missing, present = pair.difference(old), pair.intersection(old)
    if len(missing) != 1:
        return None
    return f"{min(present)} {HALF} {min(missing)}, and the experts hold the two in one parameter, gate_up_proj"


def _pair(conversions: Mapping[str, str]) -> frozenset[str]:
    return frozenset(name for name, new in conversions.items() if new == "gate_up_proj")
