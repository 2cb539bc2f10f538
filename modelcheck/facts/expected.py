"""Which tensors an architecture has and of what shape: generated tables, one a model type, read when asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files as package_files
from typing import Any

from modelcheck.fact import Missing, fact

from .config import Config
from .expressions import Unanswerable, evaluate, integer
from .files import shorten

Shape = tuple[int, ...]
# DeepSeek-V3 has 47,000; a config that asks for more than this is not to be believed.
MOST = 400_000


@dataclass(frozen=True, slots=True)
class Entry:
    """Tensors of one pattern: `layers` says in which layers they are, `when` which switches they need."""

    name: str
    shape: str
    layers: str = ""
    experts: str = ""
    when: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """One architecture.

    `shared` are in each of the `layouts`, the ways in which transformers saves it; `depth` counts the layers.
    `defaults` are those of its config class, as values or as expressions. `fixed` are keys at whose defaults
    alone the table holds. A null in `nullable` means none; elsewhere it means the default. `prefix` is what the names
    of a model lack that was saved without its head.
    """

    architecture: str
    prefix: str
    depth: str
    shared: Sequence[Entry]
    layouts: Sequence[Sequence[Entry]]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    head: str = ""
    aliases: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    nullable: Sequence[str] = ()

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Table:
        """From the JSON that tools/tensor_tables.py writes."""
        layouts = [[Entry(**entry) for entry in layout] for layout in document["layouts"]]
        return cls(**{**document, "layouts": layouts, "shared": [Entry(**entry) for entry in document["shared"]]})


@dataclass(frozen=True, slots=True)
class Expected:
    """{tensor name: shape} for each way in which the model may be saved. `head` is the unembedding's name."""

    layouts: Sequence[Mapping[str, Shape]]
    head: str
    prefix: str


def table(model_type: object) -> Table | None:
    """The table of a model type; None where there is none."""
    if not isinstance(model_type, str) or not model_type.isidentifier():
        return None
    place = package_files("modelcheck").joinpath("data", "tensors", f"{model_type}.json")
    try:
        return Table.read(json.loads(place.read_text(encoding="utf-8")))
    except OSError:
        return None


class Keys:
    """A config's keys as its class would have them."""

    def __init__(self, table: Table, config: Mapping[str, Any]) -> None:
        self._table, self._config = table, config

    def __getitem__(self, key: str) -> Any:
        """Raises Unanswerable where the config does not say and the class has no default that we know."""
        for name in (key, self._table.aliases.get(key, key)):
            if self._config.get(name) is not None:
                return self._config[name]
        default = self._table.defaults.get(key)
        stated = key in self._config
        if key in self._table.nullable and (stated or default is None):
            return None
        if isinstance(default, str):
            return evaluate(default, self.__getitem__)
        if default is None or (stated and default != []):
            raise Unanswerable(f"{key} is {'null' if stated else 'not there'}")
        return default

    def refuse_unprobed(self) -> None:
        """Raise Unanswerable where a key has a value at which no model was probed."""
        for key, values in self._table.fixed.items():
            if key in self._config and self._config[key] not in values:
                raise Unanswerable(f"{key} is {shorten(self._config[key])}, known is {' or '.join(map(str, values))}")


def expand(table: Table, config: Mapping[str, Any]) -> Expected:
    """The tensors that a config asks for. Raises Unanswerable for a config outside what was probed."""
    keys = Keys(table, config)
    keys.refuse_unprobed()
    layouts = []
    for layout in table.layouts:
        tensors: dict[str, Shape] = {}
        for entry in (*table.shared, *layout):
            if all(evaluate(condition, keys.__getitem__) for condition in entry.when):
                _add(tensors, entry, keys, table.depth)
        layouts.append(tensors)
    return Expected(layouts, table.head, table.prefix)


def _add(tensors: dict[str, Shape], entry: Entry, keys: Keys, depth: str) -> None:
    shape = tuple(integer(text, keys.__getitem__) for text in entry.shape.split(", "))
    experts = range(integer(entry.experts, keys.__getitem__)) if entry.experts else [0]
    layers = range(integer(depth, keys.__getitem__)) if "{layer}" in entry.name else [0]
    if len(tensors) + len(layers) * len(experts) > MOST:
        raise Unanswerable(f"it asks for more than {MOST} tensors")
    for layer in layers:
        here = entry.layers and evaluate(entry.layers, lambda key, layer=layer: layer if key == "layer" else keys[key])  # type: ignore[misc]
        if here is not False:
            for expert in experts:
                tensors[entry.name.format(layer=layer, expert=expert)] = shape


@fact
def architecture_table(config: Config) -> Table:
    """The table of this model type or, of a multimodal model, of its language model.

    Raises Missing where there is none, or the model is another one of that type.
    """
    model_type, architectures = config.root.get("model_type"), config.root.get("architectures")
    found = table(model_type)
    if found is None and config.text is not config.root and (tower := table(config.text.get("model_type"))):
        return tower
    if found is None:
        raise Missing(f"no table says which tensors a model of type {shorten(model_type)} has")
    if architectures not in (None, [found.architecture]):
        raise Missing(f"architectures is {shorten(architectures)}, the table is that of {found.architecture}")
    code = config.root.get("auto_map")
    own = str(code.get("AutoModelForCausalLM", found.architecture)) if isinstance(code, dict) else found.architecture
    if own.rpartition(".")[2] != found.architecture:
        raise Missing(f"the model brings code of its own ({shorten(own)})")
    return found


@fact
def expected_tensors(config: Config, architecture_table: Table) -> Expected:
    """The tensors that the config asks for. Raises Missing for a config outside what was probed."""
    try:
        return expand(architecture_table, config.text)
    except Unanswerable as why:
        raise Missing(f"the table of {architecture_table.architecture} does not say: {why}") from why


def tied(config: Config, architecture_table: Table | None) -> tuple[bool, bool] | None:
    """(whether unembedding and embedding are one, whether the config says so); None where nobody knows."""
    _, value = config.where("tie_word_embeddings")
    if isinstance(value, bool):
        return value, True
    if architecture_table is None or value is not None:
        return None
    return bool(architecture_table.defaults.get("tie_word_embeddings")), False
