"""The tokenizer that transformers 5 builds where the class named in tokenizer_config.json has parts of its own.

Such a class takes the vocabulary and the merges out of tokenizer.json and builds normalizer, pre-tokenizer and decoder
by itself (tokenization_utils_tokenizers.py, `convert_to_native_format`). Which class it is follows AutoTokenizer
(tokenization_auto.py). Both are answered from a table that tools/transformers_tables.py makes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelcheck import tables
from modelcheck.fact import Malformed, Missing, NotApplicable, fact

from .config import Config
from .files import JsonObject
from .tokenizer import Tokenizer, is_panic, load

# Of these classes the pre-tokenizer obeys add_prefix_space of tokenizer_config.json.
OBEYS_PREFIX = frozenset({"GPT2Tokenizer", "LlamaTokenizer", "Qwen2Tokenizer"})

# What every text holds, then what only code, tables and sloppy writing hold: spaces in front and in rows.
ORDINARY = (
    "The quick brown fox doesn't jump over 12345 lazy dogs, does it? (No!)",
    "HTTPServer returned 404; see https://example.org/a_b?c=1&d=2#e.\nNext line:\n\n- item 1\n- item 2\n",
    "Größe, naïve café, 東京都に行きました。 Привет, мир! مرحبا 😀 १२३",
    "It's what we've said: THEY'RE wrong, I'LL go.\r\n\tx_1 = foo(bar[0]) + 3.14e-10 // done",
)
SPACED = (" leading space", "two  spaces   and more", "def f(x):\n    return x\n        # deeper\n", "  \n  \n", "end ")


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """The class, who names it, the parts of tokenizer.json that it replaces by others, and what comes out."""

    name: str
    file: str
    at: str | None
    parts: tuple[str, ...]
    tokenizer: Tokenizer


@fact
def rebuilt_tokenizer(
    tokenizer_json: str, tokenizer_config: JsonObject | None = None, config: Config | None = None
) -> Rebuilt:
    """Not applicable where transformers takes tokenizer.json as it stands."""
    settings = tokenizer_config or {}
    file, named = _named(settings, config)
    byte_level = '"ByteLevel"' in tokenizer_json
    name = chosen_class(named, config.root.get("model_type") if config else None, byte_level=byte_level)
    parts = tables.load("tokenizer_classes.json")["pipelines"].get(name)
    if name is None or parts is None or "auto_map" in settings:
        raise NotApplicable("transformers takes tokenizer.json as it stands")
    own = own_parts(name, parts, settings)
    head = _without_vocabulary(tokenizer_json)
    if (head.get("model") or {}).get("type", "BPE") != "BPE":
        raise NotApplicable(f"{name} is a class for another kind of tokenizer")
    replaced = tuple(part for part in own if _differs(head.get(part), own[part]))
    if not replaced or ("model" not in replaced and _same_pieces(head, head | own)):
        raise NotApplicable(f"{name} has the same parts as tokenizer.json, or parts that do the same")
    document = json.loads(tokenizer_json)
    document |= {**own, "model": document["model"] | own["model"]}
    try:
        return Rebuilt(name, file, "/tokenizer_class", replaced, load(file, json.dumps(document)))
    except Malformed as refused:
        raise Missing(f"what {name} makes of tokenizer.json cannot be built: {refused.problem}") from refused


def _same_pieces(in_file: Mapping[str, Any], built: Mapping[str, Any]) -> bool:
    # Two pipelines that cut texts alike need no vocabulary to be told equal; parsing a large one takes seconds.
    try:
        return _pieces(in_file) == _pieces(built)
    except BaseException as error:
        if isinstance(error, Exception) or is_panic(error):
            return False  # what the library refuses here it also refuses with the vocabulary, and that is told
        raise


def _pieces(document: Mapping[str, Any]) -> list[list[str]]:
    from tokenizers import Tokenizer as Backend

    empty = {"type": "BPE", "vocab": dict[str, int](), "merges": list[str]()}
    backend = Backend.from_str(json.dumps({**document, "model": empty, "added_tokens": [], "post_processor": None}))
    normalize = backend.normalizer.normalize_str if backend.normalizer else str
    cut = backend.pre_tokenizer.pre_tokenize_str if backend.pre_tokenizer else (lambda text: [(text, ())])
    return [[piece for piece, _ in cut(normalize(text))] for text in (*ORDINARY, *SPACED)]


def _without_vocabulary(text: str) -> dict[str, Any]:
    # The vocabulary comes last: what stands before it is parsed in a millisecond, the whole of a large file in 300.
    try:
        head = json.loads(text[: text.index('"vocab"')] + '"vocab": {}}}')
    except ValueError:
        head = json.loads(text)
    return dict(head)


def _named(settings: JsonObject, config: Config | None) -> tuple[str, str | None]:
    for file, content in (("tokenizer_config.json", settings), ("config.json", config.root if config else {})):
        if isinstance(name := content.get("tokenizer_class"), str):
            return file, name
    return "config.json", None


def chosen_class(named: str | None, model_type: object, *, byte_level: bool) -> str | None:
    """The class that AutoTokenizer takes, without "Fast"; None where it takes tokenizer.json as it stands."""
    table = tables.load("tokenizer_classes.json")
    registered = table["registered"].get(model_type) if isinstance(model_type, str) else None
    registered = registered and registered.removesuffix("Fast")
    if named is None:
        return registered
    named = named.removesuffix("Fast")
    escaped = model_type in table["escaped"]
    if named == "LlamaTokenizer" and byte_level and not escaped:
        return None
    if model_type in table["generic"]:
        return None
    return registered if registered and registered != named and escaped else named


def own_parts(name: str, parts: Mapping[str, Any], settings: JsonObject) -> dict[str, Any]:
    """The parts that the class builds under these settings."""
    pre_tokenizer = parts["pre_tokenizer"]
    prefix = settings.get("add_prefix_space")
    if name in OBEYS_PREFIX and pre_tokenizer["type"] == "Metaspace":
        scheme = "never" if prefix is False else "always" if settings.get("legacy") else "first"
        pre_tokenizer = {**pre_tokenizer, "prepend_scheme": scheme}
    elif name in OBEYS_PREFIX and prefix is not None:
        pre_tokenizer = _with_prefix(pre_tokenizer, value=bool(prefix))
    return {**parts, "pre_tokenizer": pre_tokenizer}


def _with_prefix(part: Mapping[str, Any], *, value: bool) -> dict[str, Any]:
    if part["type"] == "Sequence":
        return {**part, "pretokenizers": [_with_prefix(p, value=value) for p in part["pretokenizers"]]}
    return {**part, "add_prefix_space": value} if part["type"] == "ByteLevel" else dict(part)


def _differs(in_file: Any, built: Any) -> bool:
    # Offsets do not change ids. What a file does not say is at its default, and so are null and false of the model.
    if isinstance(built, dict) and "type" not in built:
        return any(((in_file or {}).get(option) or None) != (value or None) for option, value in built.items())
    return bool(_canonical(in_file) != _canonical(built))


def _canonical(part: Any) -> Any:
    if isinstance(part, list):
        return [_canonical(item) for item in part]
    if not isinstance(part, dict):
        return part
    inner = part.get("pretokenizers") or part.get("normalizers")
    if part.get("type") == "Sequence" and isinstance(inner, list) and len(inner) == 1:
        return _canonical(inner[0])
    return {key: _canonical(value) for key, value in part.items() if key != "trim_offsets"}
