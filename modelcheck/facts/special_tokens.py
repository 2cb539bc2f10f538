"""The special tokens that a checkpoint names: in its tokenizer files by text, in its configs by id."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from modelcheck.fact import Malformed, fact, reads

from .config import Config, token_ids
from .files import Files, JsonObject, json_type, shorten
from .vocabulary import Vocabulary

ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
EXTRA = ("additional_special_tokens", "extra_special_tokens")


@dataclass(frozen=True, slots=True)
class SpecialToken:
    """A token named in a file: its text, and the file and JSON pointer that name it."""

    content: str
    file: str
    at: str


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """The tokens by role (`bos_token`, `eos_token`, ...), and the further ones that have no role."""

    by_role: Mapping[str, SpecialToken]
    extra: tuple[SpecialToken, ...] = ()

    def content(self, role: str) -> str | None:
        """The text of the token with that role."""
        token = self.by_role.get(role)
        return token.content if token else None

    def __iter__(self) -> Iterator[tuple[str, SpecialToken]]:
        yield from self.by_role.items()
        yield from (("additional special token", token) for token in self.extra)


@dataclass(frozen=True, slots=True)
class StopId:
    """A token id at which generation ends: as an integer, and the place that says so."""

    id: int
    file: str
    at: str


@dataclass(frozen=True, slots=True)
class StopIds:
    """Where generation ends, by the file that says so.

    A runtime reads generation_config, else config, and the tokenizer's eos.
    """

    generation: tuple[StopId, ...] = ()
    config: tuple[StopId, ...] = ()
    tokenizer: tuple[StopId, ...] = ()

    @property
    def in_force(self) -> dict[int, StopId]:
        """{id: stop id} of those that transformers and vLLM really stop at."""
        return {stop.id: stop for stop in (*self.tokenizer, *(self.generation or self.config))}


@reads("tokenizer_config.json")
@fact
def tokenizer_config(files: Files) -> JsonObject:
    """tokenizer_config.json."""
    files.require("tokenizer_config.json", "there is no tokenizer_config.json")
    return files.json_object("tokenizer_config.json")


@reads("special_tokens_map.json")
@fact
def special_tokens_map(files: Files) -> JsonObject:
    """special_tokens_map.json, which transformers 5 no longer writes."""
    files.require("special_tokens_map.json", "there is no special_tokens_map.json")
    return files.json_object("special_tokens_map.json")


@fact
def special_tokens(
    tokenizer_config: JsonObject | None = None, special_tokens_map: JsonObject | None = None
) -> SpecialTokens:
    """The special tokens as transformers 5.23 reads them.

    special_tokens_map.json counts, and wins, only where tokenizer_config.json has no `added_tokens_decoder`
    (tokenization_utils_base.py, `_from_pretrained`).
    """
    named: dict[str, JsonObject] = {}
    if tokenizer_config is not None:
        named["tokenizer_config.json"] = tokenizer_config
    if special_tokens_map is not None and "added_tokens_decoder" not in (tokenizer_config or {}):
        named["special_tokens_map.json"] = special_tokens_map
    by_role: dict[str, SpecialToken] = {}
    extra: dict[str, SpecialToken] = {}
    for file, content in named.items():
        for role in ROLES:
            if (token := _token(file, f"/{role}", content.get(role))) is not None:
                by_role[role] = token
        extra |= {token.content: token for key in EXTRA for token in _extras(file, key, content.get(key))}
    return SpecialTokens(by_role, tuple(extra.values()))


def _token(file: str, at: str, value: Any) -> SpecialToken | None:
    if isinstance(value, dict):
        value = value.get("content")
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise Malformed(file, f"{at[1:]} is a {json_type(value)} ({shorten(value)}), expected a string", at=at)
    return SpecialToken(value, file, at)


def _extras(file: str, key: str, value: Any) -> Iterator[SpecialToken]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in items:
        if (token := _token(file, f"/{key}/{name}", item)) is not None:
            yield token


@fact
def stop_ids(
    special_tokens: SpecialTokens,
    config: Config | None = None,
    generation_config: JsonObject | None = None,
    vocabulary: Vocabulary | None = None,
) -> StopIds:
    """Every stop id and who names it."""
    generation = token_ids("generation_config.json", generation_config or {}, "eos_token_id")
    from_config: tuple[int, ...] = ()
    at = "/eos_token_id"
    if config is not None:
        at, _ = config.where("eos_token_id")
        from_config = token_ids(
            config.file, config.root if at.count("/") == 1 else config.text, "eos_token_id", at.rpartition("/")[0]
        )
    eos = special_tokens.by_role.get("eos_token")
    eos_id = vocabulary.id(eos.content) if vocabulary and eos else None
    return StopIds(
        tuple(StopId(i, "generation_config.json", "/eos_token_id") for i in generation),
        tuple(StopId(i, "config.json", at) for i in from_config),
        (StopId(eos_id, eos.file, eos.at),) if eos and eos_id is not None else (),
    )
