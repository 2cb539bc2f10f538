"""config.json and generation_config.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelcheck.fact import Malformed, fact, reads

from .files import Files, JsonObject, expect, json_type, shorten

# Where multimodal models keep the language model's configuration.
NESTED = ("text_config", "llm_config", "language_config", "thinker_config/text_config")


@dataclass(frozen=True, slots=True)
class Config:
    """config.json: the whole of it and, in a multimodal model, the part that describes the language model."""

    root: JsonObject
    text: JsonObject
    text_at: str
    file: str = "config.json"

    def where(self, key: str) -> tuple[str, Any]:
        """(JSON pointer, value) of a key, from the root if it has one there, else from the text part."""
        if self.root.get(key) is not None or key not in self.text:
            return f"/{key}", self.root.get(key)
        return f"{self.text_at}/{key}", self.text[key]

    def text_where(self, key: str) -> tuple[str, Any]:
        """The same, the text part first."""
        if key in self.text:
            return f"{self.text_at}/{key}", self.text[key]
        return f"/{key}", self.root.get(key)

    def integer(self, key: str, *, of_text: bool = False) -> int | None:
        """An integer or null. Raises Malformed for anything else."""
        at, value = self.text_where(key) if of_text else self.where(key)
        return None if value is None else int(expect(self.file, at, value, int))


@reads("config.json")
@fact
def config(files: Files) -> Config:
    """config.json with its nested text configuration resolved."""
    files.require("config.json", "there is no config.json")
    root = files.json_object("config.json")
    for path in NESTED:
        text: Any = root
        for key in path.split("/"):
            text = text.get(key) if isinstance(text, dict) else None
        if isinstance(text, dict):
            return Config(root, text, f"/{path}")
        if text is not None and path == "text_config":
            raise Malformed("config.json", f"{path} is a {json_type(text)}, expected an object", at=f"/{path}")
    return Config(root, root, "")


@reads("generation_config.json")
@fact
def generation_config(files: Files) -> JsonObject:
    """generation_config.json."""
    files.require("generation_config.json", "there is no generation_config.json")
    return files.json_object("generation_config.json")


def token_ids(file: str, content: Mapping[str, Any], key: str, at: str = "") -> tuple[int, ...]:
    """An id field that may be null, an integer or a list of them (eos_token_id). Raises Malformed for anything else."""
    value = content.get(key)
    if value is None:
        return ()
    values = value if isinstance(value, list) else [value]
    for item in values:
        if type(item) is not int:
            raise Malformed(file, f"{key} is {shorten(value)}, expected an integer or a list of them", at=f"{at}/{key}")
    return tuple(values)
