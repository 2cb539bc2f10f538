"""Tokens that could pad: those that nothing uses, and the id that a new one would get."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from modelcheck import tables
from modelcheck.fact import Missing, NotApplicable, fact

from .chat_template import Template
from .config import Config
from .files import JsonObject
from .rows import Rows
from .special_tokens import SpecialTokens, StopIds
from .tokenizer import Tokenizer
from .vocabulary import Vocabulary

PAD = "pad_token"
NAMED_PAD = re.compile(r"\W*_*pad(?:ding)?(?:_token)?_*\W*", re.IGNORECASE)
# The unknown token of tokenizers that spell what they do not know in bytes, and so never write it.
UNKNOWN, STRANGE = "<unk>", "\ue000\U000f0000\ufdd0"
IDS = re.compile(r"_token_(?:ids?|index)$")
NEW = "<|pad|>"


@dataclass(frozen=True, slots=True)
class Pad:
    """A token to pad with: its text, its id and, in words, why it may be one."""

    content: str
    id: int
    why: str


@fact
def idle_tokens(
    tokenizer: Tokenizer,
    special_tokens: SpecialTokens,
    stop_ids: StopIds,
    emitted: Mapping[int, tuple[str, ...]],
    template_places: Sequence[tuple[str, Template]],
    rows: Rows | None = None,
    config: Config | None = None,
) -> Mapping[int, str]:
    """{id: text} of the added tokens that have a row and no use.

    None that a template's text mentions, that a text or a turn begins or ends with, that has a role other than padding,
    that generation stops at, or whose id config.json names (an image's place, say).
    """
    roles = {token.content for role, token in special_tokens.by_role.items() if role != PAD}
    stops = {stop.id for stop in (*stop_ids.generation, *stop_ids.config, *stop_ids.tokenizer)}
    busy = {*emitted, *stops, *(_named_ids(config.root) if config else ())}
    texts = [template.text for _, template in template_places]
    return {
        number: content
        for number, content in sorted(tokenizer.added.items())
        if number not in busy
        and content not in roles
        and (rows is None or number < rows.number)
        and not any(content in text for text in texts)
    }


@fact
def reserved_pads(
    tokenizer: Tokenizer,
    idle_tokens: Mapping[int, str],
    special_tokens: SpecialTokens,
    emitted: Mapping[int, tuple[str, ...]],
    rows: Rows | None = None,
) -> tuple[Pad, ...]:
    """The tokens that are there for padding, the best first: by their name, by their family, the unknown token."""
    ids = {content: number for number, content in idle_tokens.items()}
    found = [Pad(content, i, "it is there for padding") for content, i in ids.items() if NAMED_PAD.fullmatch(content)]
    families: Mapping[str, str] = tables.load("pads.json")["tokens"]
    found += [Pad(content, ids[content], why) for content, why in families.items() if content in ids]
    roles = [content for role, content in _roles(special_tokens) if role != "unk_token"]
    unknown = tokenizer.id(UNKNOWN) if special_tokens.content("unk_token") == UNKNOWN else None
    if unknown is not None and UNKNOWN not in roles and unknown not in {*emitted, *tokenizer.encode(STRANGE)}:
        if rows is None or unknown < rows.number:
            found.append(Pad(UNKNOWN, unknown, "this tokenizer spells unknown text in bytes and never writes it"))
    return tuple(found)


@fact
def new_pad(tokenizer_json: str, vocabulary: Vocabulary) -> Pad:
    """A pad token that is not there yet, with the id that the `tokenizers` library gives it."""
    from tokenizers import AddedToken
    from tokenizers import Tokenizer as Backend

    if not vocabulary.complete:
        raise NotApplicable("the vocabulary is not known")
    content = NEW
    while vocabulary.id(content) is not None:
        content += "#"
    backend = Backend.from_str(tokenizer_json)
    backend.add_special_tokens([AddedToken(content, special=True, normalized=False)])
    number = backend.token_to_id(content)
    if number is None:
        raise Missing(f"the tokenizers library does not take {content!r} as a new token")
    return Pad(content, number, "no token is reserved for it, so a new one is added")


def _roles(special_tokens: SpecialTokens) -> Iterator[tuple[str, str]]:
    return ((role, token.content) for role, token in special_tokens.by_role.items())


def _named_ids(config: JsonObject) -> Iterator[int]:
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _named_ids(value)
        elif IDS.search(key) and key != f"{PAD}_id":
            yield from (item for item in (value if isinstance(value, list) else [value]) if type(item) is int)
