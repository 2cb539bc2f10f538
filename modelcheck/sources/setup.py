"""A target and what belongs to it, seen as one checkpoint: an adapter on its base, a model under a planned adapter."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from modelcheck.errors import Unreachable, UsageError
from modelcheck.names import (
    CONVERTIBLE,
    INDEX,
    JINJA,
    LEGACY,
    PICKLE_INDEX,
    PICKLE_SINGLE,
    SINGLE,
    TEMPLATE_FOLDER,
    TEXT_LIMIT,
)
from modelcheck.sources import Access, PartlyKnown, Pinned, Remote, Source, Span, hub_cache
from modelcheck.sources.local import LocalFolder

ADAPTER_CONFIG, ADAPTER_TENSORS, ADAPTER_PICKLE = (
    "adapter_config.json",
    "adapter_model.safetensors",
    "adapter_model.bin",
)
MODEL = frozenset({"config.json", "generation_config.json", SINGLE, INDEX, PICKLE_SINGLE, PICKLE_INDEX})
VOCABULARY = frozenset({"tokenizer.json", *CONVERTIBLE})
TEMPLATES = frozenset({JINJA, LEGACY})
# What absent files are called in the report (modelcheck.fact.NotPassed).
BASE, WEIGHTS = "base", "adapter weights"


@dataclass(frozen=True, slots=True)
class Base:
    """The base model of an adapter, and the folder or hub id that it is called by; or why there is none."""

    source: Source | None = None
    name: str = ""
    why_not: str = ""


def set_up(
    own: Source, folder: Path | None, base: Base | None, lora: str | None, access: Access | None = None
) -> Source:
    """The source of a run's target together with its base model and a planned adapter.

    A target that is a model (or has a planned adapter laid over it) is the base itself. An adapter's base is `base`,
    else what its `base_model_name_or_path` names, if that is a folder here or on the hub. The network is asked only if
    the target or `base` is a hub id. Raises UsageError for what cannot be read.
    """
    planned = {ADAPTER_CONFIG: (lora, _content(lora, "--lora"))} if lora else {}
    if own.kind == "gguf":
        if base or lora:
            raise UsageError("--base and --lora: a GGUF is not trained; name the folder that it was converted from")
        return own
    sizes = own.sizes()
    if ADAPTER_CONFIG not in sizes and not planned:
        return own
    if is_model(sizes) or (planned and "config.json" in sizes):
        return SetUp(own, Base(), planned) if planned else own
    if base is None:
        return SetUp(own, _named(own, folder, planned, access or Access()), planned)
    if base.source is None or "config.json" not in base.source.sizes():
        raise UsageError(f"--base {base.name}: holds no config.json; name the folder or hub id of the base model")
    return SetUp(own, base, planned)


def is_model(sizes: Mapping[str, int]) -> bool:
    """Whether these files are a model with weights, whatever adapter lies beside it."""
    return "config.json" in sizes and any(_is_weights(name) for name in sizes)


def template_text(path: str) -> str:
    """The text of `--chat-template FILE`. Raises UsageError for what is no text."""
    try:
        return _content(path, "--chat-template").decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"--chat-template {path}: is not UTF-8: {error.reason} at byte {error.start}") from None


class SetUp:
    """An adapter's folder and its base: model files come from the base, the tokenizer from whoever has one."""

    def __init__(self, own: Source, on: Base, planned: Mapping[str, tuple[str, bytes]]) -> None:
        self.own, self.on, self._planned = own, on, planned
        base = on.source
        self.kind = own.kind
        mine = {name: size for name, size in own.sizes().items() if not (planned and name.startswith("adapter_"))}
        theirs = {name: size for name, size in base.sizes().items() if _is_taken(name, mine)} if base else {}
        self._from_base = frozenset(theirs)
        self._sizes = mine | theirs | {name: len(content) for name, (_, content) in planned.items()}
        has_base = base is not None or is_model(mine) or (planned and "config.json" in mine) or own.kind == "objects"
        expected = {} if has_base else dict.fromkeys(MODEL, f"{BASE}: {on.why_not}" if on.why_not else BASE)
        if not planned and ADAPTER_CONFIG in mine and ADAPTER_PICKLE not in mine:
            expected[ADAPTER_TENSORS] = f"{WEIGHTS} on the hub" if own.kind == "hub" else WEIGHTS
        absent = expected | dict(own.absent)
        self.absent = {name: what for name, what in absent.items() if name not in self._sizes}

    def sizes(self) -> Mapping[str, int]:
        return self._sizes

    def refuse_unknown(self, name: str) -> None:
        for part in (self.own, self.on.source):
            if isinstance(part, PartlyKnown) and (part is self.own or _is_taken(name, self.own.sizes())):
                part.refuse_unknown(name)

    def read(self, name: str, start: int, stop: int) -> bytes:
        if name in self._planned:
            return self._planned[name][1][start:stop]
        return self._owner(name).read(name, start, stop)

    def stream(self, name: str, start: int, stop: int, chunk: int) -> Iterator[memoryview]:
        if name in self._planned:
            return iter([memoryview(self._planned[name][1])[start:stop]])
        return self._owner(name).stream(name, start, stop, chunk)

    def outside(self, name: str) -> str | None:
        return None if name in self._planned else self._owner(name).outside(name)

    def shown(self, name: str) -> str:
        if name in self._planned:
            return self._planned[name][0]
        return str(Path(self.on.name) / name) if name in self._from_base else name

    def expect(self, spans: Iterable[Span]) -> None:
        asked = [span for span in spans if span[0] not in self._planned]
        for part in (self.own, self.on.source):
            if isinstance(part, Remote):
                part.expect(span for span in asked if self._owner(span[0]) is part)

    def pinned(self) -> list[Pinned]:
        return [one for part in (self.own, self.on.source) if isinstance(part, Remote) for one in part.pinned()]

    def close(self) -> None:
        for part in (self.own, self.on.source):
            if isinstance(part, Remote):
                part.close()

    def _owner(self, name: str) -> Source:
        return self.on.source if self.on.source and name in self._from_base else self.own


def _is_weights(name: str) -> bool:
    plain = name.endswith(".safetensors") and "/" not in name and not name.startswith("adapter_")
    return plain or name in (SINGLE, INDEX, PICKLE_SINGLE, PICKLE_INDEX)


def _is_taken(name: str, mine: Mapping[str, int]) -> bool:
    """Whether a file of the base is part of the set-up with an adapter that has the files `mine`."""
    if name in MODEL or _is_weights(name) or name.startswith("pytorch_model"):
        return True
    if name in mine or name.startswith("adapter_"):
        return False
    if name in TEMPLATES or name.startswith(f"{TEMPLATE_FOLDER}/"):
        return not TEMPLATES & mine.keys() and "tokenizer_config.json" not in mine
    # A tokenizer is taken whole; a configuration alone still needs the vocabulary of the base.
    return not VOCABULARY & mine.keys() or not (name in VOCABULARY or "token" in name)


def _named(own: Source, folder: Path | None, planned: Mapping[str, tuple[str, bytes]], access: Access) -> Base:
    """The base that the adapter's configuration names."""
    try:
        size = min(own.sizes().get(ADAPTER_CONFIG, 0), TEXT_LIMIT)
        config = json.loads(planned[ADAPTER_CONFIG][1] if planned else own.read(ADAPTER_CONFIG, 0, size))
        name = config["base_model_name_or_path"]
        for place in ([folder / name] if folder else []) + [Path(name)]:
            if name and (place / "config.json").is_file():
                return Base(LocalFolder(place), str(place))
            if name and (place / ADAPTER_CONFIG).is_file():
                return Base(why_not=f"{place} is an adapter itself")
        if own.kind == "objects" or not hub_cache.is_repo_id(name):
            return Base()
        revision = config.get("revision")
    except (OSError, ValueError, TypeError, KeyError, RecursionError, UsageError):
        return Base()  # what is wrong with the file, the facts will say
    return _on_the_hub(name, revision if isinstance(revision, str) else None, own, access)


def _on_the_hub(name: str, revision: str | None, own: Source, access: Access) -> Base:
    from modelcheck.sources.pinning import open_repository

    local = own.kind == "folder"
    access = replace(access, revision=revision, instead=f"--base {name}" if local else None)
    try:
        base = open_repository(name, access)
        base.refuse_unknown("config.json")
    except (UsageError, Unreachable) as reason:
        return Base(why_not="" if local else str(reason))
    return Base(base, name) if "config.json" in base.sizes() else Base(why_not=f"{name} holds no config.json")


def _content(path: str, option: str) -> bytes:
    try:
        if not Path(path).is_file() and Path(path).exists():
            raise UsageError(f"{option} {path}: is not a file")
        if Path(path).stat().st_size > TEXT_LIMIT:
            raise UsageError(f"{option} {path}: is larger than {TEXT_LIMIT / 1e6:.0f} MB")
        return Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"{option} {path}: {error.strerror or error}") from None
