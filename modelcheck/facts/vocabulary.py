"""Which token has which id, from whichever file says so with the least reading."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any

from modelcheck.fact import Malformed, NotApplicable, fact

from .files import Files, JsonObject


class Vocabulary:
    """Tokens and their ids.

    `added` are the tokens outside the base vocabulary, where special tokens nearly always are: cheap to read.
    The base vocabulary is read on the first token that is not among them; None where no file holds it.
    """

    def __init__(self, added: Mapping[str, int], load_base: Callable[[], Mapping[str, int]] | None, file: str) -> None:
        self.added, self._load_base, self.file = added, load_base, file

    @cached_property
    def base(self) -> Mapping[str, int]:
        """The base vocabulary; empty where it is not known."""
        return self._load_base() if self._load_base else {}

    @property
    def complete(self) -> bool:
        """Whether a token that is not found is certain not to exist."""
        return self._load_base is not None

    def id(self, content: str) -> int | None:
        """The id of a token, or None where this view of the vocabulary has no such token."""
        found = self.added.get(content)
        return self.base.get(content) if found is None else found


def tokens_in(text: str, names: Iterable[str]) -> list[str]:
    """Those of the tokens that a text is cut at: tokenizers take added tokens before all else, the longest first."""
    present = sorted((name for name in names if name.strip() and name in text), key=len, reverse=True)
    return re.findall("|".join(map(re.escape, present)), text) if present else []


@fact
def vocabulary(
    files: Files, tokenizer_json: str | None = None, tokenizer_config: JsonObject | None = None
) -> Vocabulary:
    """Tokens and ids without parsing the whole of tokenizer.json unless a token is looked for in its base."""
    if tokenizer_json is not None:
        return Vocabulary(_added_tokens(files, tokenizer_json), lambda: _base_of_json(files), "tokenizer.json")
    decoder = (tokenizer_config or {}).get("added_tokens_decoder")
    added = _from_decoder(decoder) if isinstance(decoder, dict) else {}
    if "added_tokens.json" in files:
        added |= _integers("added_tokens.json", files.json_object("added_tokens.json"))
    if "vocab.json" in files:
        return Vocabulary(added, lambda: _integers("vocab.json", files.json_object("vocab.json")), "vocab.json")
    if not added:
        raise NotApplicable("no file of this checkpoint lists tokens and their ids")
    return Vocabulary(added, None, "tokenizer_config.json")


def _added_tokens(files: Files, text: str) -> dict[str, int]:
    # The array of added tokens stands before the vocabulary, which is up to 33 MB: decoding the array alone
    # takes a millisecond where the whole takes 130 (Llama 3). Any other order only costs that time.
    start, model = text.find('"added_tokens"'), text.find('"model"')
    try:
        if start < 0 or model < start:
            raise ValueError
        array = text.index("[", start, start + 40)
        items, _ = json.JSONDecoder().raw_decode(text, array)
    except (ValueError, RecursionError):
        items = _whole(files).get("added_tokens") or []
    try:
        return _integers("tokenizer.json", {item["content"]: item["id"] for item in items})
    except (TypeError, KeyError) as error:
        problem = "added_tokens is not a list of objects with content and id"
        raise Malformed("tokenizer.json", problem, at="/added_tokens") from error


def _whole(files: Files) -> dict[str, Any]:
    from .tokenizer import TOKENIZER_LIMIT

    return files.json_object("tokenizer.json", TOKENIZER_LIMIT)


def _base_of_json(files: Files) -> dict[str, int]:
    model = _whole(files).get("model")
    vocab = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocab, list):  # Unigram: [token, score] pairs, the id is the position
        vocab = {pair[0]: i for i, pair in enumerate(vocab) if isinstance(pair, list) and pair}
    if not isinstance(vocab, dict):
        raise Malformed("tokenizer.json", "model.vocab is neither an object nor an array of pairs", at="/model/vocab")
    return _integers("tokenizer.json", vocab)


def _from_decoder(decoder: Mapping[str, Any]) -> dict[str, int]:
    try:
        return {token["content"]: int(number) for number, token in decoder.items()}
    except (TypeError, KeyError, ValueError) as error:
        problem = "added_tokens_decoder does not map ids to objects with a content"
        raise Malformed("tokenizer_config.json", problem, at="/added_tokens_decoder") from error


def _integers(file: str, pairs: Mapping[Any, Any]) -> dict[str, int]:
    for token, number in pairs.items():
        if not isinstance(token, str) or type(number) is not int:
            raise Malformed(file, f"maps {token!r} to {number!r}, expected a token and its id")
    return dict(pairs)
