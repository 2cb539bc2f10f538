"""Make modelcheck/data/tensors/: which tensors an architecture has and of what shape, as transformers saves them.

Usage: python tools/tensor_tables.py [--check] [MODEL_TYPE...]

Tiny random models are built and saved; names become patterns, dimensions become expressions over config keys. They are
fitted on two probes of every combination of switches, and written only if a third is predicted exactly. --check writes
nothing and shows the difference.
"""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tensor_families import FAMILIES, Family
from tensor_fit import Entry, depth, fit
from tensor_probe import Header, Probe, config_of, probe, quieten, save, saved, settings

from modelcheck.facts.expected import Table, expand

TABLES = Path(__file__).parent.parent / "modelcheck" / "data" / "tensors"
# Keys that no tensor depends on, or that the table reads in another place.
PLAIN = ("_token_id", "dtype", "architectures", "model_type", "transformers_version", "rope_parameters", "id2label")


# Keys that transformers does not know, but the code that the architecture was published with.
OF_OTHER_CODE = {"deepseek_v3": {"topk_method": ["noaux_tc"]}}
LISTS = ("shared", "layouts")


class Unpredicted(Exception):
    """The third probe is not what the table says."""


def table(model_type: str) -> dict[str, Any]:
    """The table of one architecture."""
    family = FAMILIES[model_type]
    config = config_of(model_type, settings(family, 0, frozenset()))
    with tempfile.TemporaryDirectory() as folder:
        architecture = save(config, Path(folder))
    made: dict[str, Any] = {
        "architecture": architecture,
        "prefix": _prefix(architecture),
        "aliases": {ours: theirs for theirs, ours in config.attribute_map.items() if ours in _used(family)},
        "defaults": dict(_defaults(model_type, family)),
        "nullable": [key for key, off in family.switches.items() if off is None],
        "fixed": dict(_fixed(model_type, family)),
        "depth": depth(family),
        "head": "",
        "shared": [],
        "layouts": [],
    }
    for original in (True, False):
        probes = [[probe(model_type, family, n, on, original=original) for on in _combinations(family)] for n in (0, 1)]
        layout = fit(family, [p for some in probes for p in some])
        made["head"] = made["head"] or _head(layout)
        if layout not in made["layouts"]:
            made["layouts"].append(layout)
        for on in _combinations(family):
            _verify(made, made["layouts"].index(layout), _third(model_type, family, on, original))
    made["shared"] = [entry for entry in made["layouts"][0] if all(entry in layout for layout in made["layouts"])]
    made["layouts"] = [[entry for entry in layout if entry not in made["shared"]] for layout in made["layouts"]]
    computed = {key: text for key, text in made["defaults"].items() if isinstance(text, str | list)}
    _verify(made, 0, _third(model_type, family, frozenset(), original=True, without=computed))
    return {key: value for key, value in made.items() if value or key in LISTS}


def _used(family: Family) -> set[str]:
    return {*family.dimensions, *family.switches}


def _combinations(family: Family) -> Iterator[frozenset[str]]:
    for size in range(len(family.switches) + 1):
        yield from map(frozenset, itertools.combinations(family.switches, size))


def _third(
    model_type: str, family: Family, on: frozenset[str], original: bool, without: Mapping[str, Any] | None = None
) -> Probe:
    if not without:
        return probe(model_type, family, 2, on, original=original)
    values = {key: value for key, value in settings(family, 2, on).items() if key not in without}
    return Probe(values, {}, saved(config_of(model_type, values), original=original))


def _verify(made: Mapping[str, Any], layout: int, third: Probe) -> None:
    told = expand(Table.read(made), third.config)
    if told.layouts[layout] != dict(third.header):
        strange = set(told.layouts[layout].items()) ^ set(third.header.items())
        raise Unpredicted(f"{made['architecture']} {third.switches}: {sorted(strange)[:6]}")


def _prefix(architecture: str) -> str:
    import transformers

    return str(getattr(transformers, architecture).base_model_prefix)


def _head(layout: list[Entry]) -> str:
    names = [entry["name"] for entry in layout if "not tie_word_embeddings" in entry.get("when", ())]
    return next((name for name in names if name.endswith(".weight")), "")


def _defaults(model_type: str, family: Family) -> Iterator[tuple[str, Any]]:
    """What the config class takes for a key that is not in the file: a value, or an expression over others."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    fields = CONFIG_MAPPING[model_type].__dataclass_fields__
    for key in (*family.dimensions, *family.switches):
        default = fields[key].default if key in fields else None
        if default is not None and not isinstance(default, dataclasses.Field | type(dataclasses.MISSING)):
            yield key, default
        elif key in family.absent:
            yield key, family.absent[key]


def _fixed(model_type: str, family: Family) -> Iterator[tuple[str, Any]]:
    """Keys that change what is saved and that the table does not express: it holds for the defaults alone."""
    seen: dict[str, list[Any]] = {}
    found = set()
    for on in (frozenset[str](), frozenset(family.switches)):
        values = settings(family, 0, on)
        usual = config_of(model_type, values)
        before = saved(usual)
        for key, value in {"head_dim": None, **usual.to_dict()}.items():
            if key in values or key.endswith(PLAIN):
                continue
            if value not in seen.setdefault(key, []):
                seen[key].append(value)
            other = {bool: not value, int: value + 1 if type(value) is int else 0, type(None): 20}.get(type(value))
            if other is not None and _other(model_type, {**values, key: other}) not in (None, before):
                found.add(key)
    yield from ((key, seen[key]) for key in sorted(found))
    yield from OF_OTHER_CODE.get(model_type, {}).items()


def _other(model_type: str, values: Mapping[str, Any]) -> Header | None:
    try:
        return saved(config_of(model_type, values))
    except Exception:  # no model can be made of it, so nobody saved one
        return None


def text(made: Mapping[str, Any]) -> str:
    """The table as JSON, one tensor to a line."""
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in made.items() if key not in LISTS]
    lines.append(f' "shared": {_entries(made["shared"])}')
    lines.append(f' "layouts": [{", ".join(map(_entries, made["layouts"]))}]')
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _entries(entries: list[Entry]) -> str:
    return "[\n" + ",\n".join(f"  {json.dumps(entry)}" for entry in entries) + "\n ]" if entries else "[]"


def main(arguments: list[str]) -> int:
    """0 where the committed tables are what transformers saves."""
    check = "--check" in arguments
    quieten()
    different = 0
    for model_type in [a for a in arguments if a != "--check"] or FAMILIES:
        place = TABLES / f"{model_type}.json"
        new = text(table(model_type))
        old = place.read_text(encoding="utf-8") if place.is_file() else ""
        if check and new != old:
            different += 1
            lines = difflib.unified_diff(old.splitlines(), new.splitlines(), f"{place.name}, committed", "now", n=0)
            print("\n".join(lines), flush=True)
        elif not check:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(new, encoding="utf-8")
            print(f"{place.name}: {len(new)} bytes", flush=True)
    return bool(different)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
