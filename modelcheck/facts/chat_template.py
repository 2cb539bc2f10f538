"""The chat template: which file wins, for which runtime."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelcheck.fact import Malformed, NotApplicable, fact, reads
from modelcheck.names import JINJA, LEGACY, TEMPLATE_FOLDER
from modelcheck.target import Targets

from .files import Files, JsonObject, json_type
from .special_tokens import SpecialTokens

# Tokens that end a turn and nothing else: an EOS of that name makes a chat model.
TURN_ENDS = frozenset({"<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<turn|>", "<|end|>", "<|eot|>", "<|return|>"})


@dataclass(frozen=True, slots=True)
class Template:
    """One chat template: its Jinja text and the file and JSON pointer where it stands."""

    text: str
    file: str
    at: str | None


@reads(JINJA)
@fact
def chat_template(files: Files, target: Targets, tokenizer_config: JsonObject | None = None) -> Mapping[str, Template]:
    """{name: template} as the (first) target runtime finds them; a lone template is called `default`.

    The orders are read in the runtimes' sources: transformers prefers chat_template.jinja (and the files of
    additional_chat_templates/) to tokenizer_config.json; llama.cpp's converter takes the key of
    tokenizer_config.json if there is one, even if it is null; Ollama and TGI read nothing else.
    """
    in_json = dict(_named(tokenizer_config or {}))
    in_files = dict(_from_files(files))
    if target.first in ("ollama", "tgi"):
        found = in_json
    elif target.first == "llama.cpp":
        found = in_json if "chat_template" in (tokenizer_config or {}) else in_files
    else:
        found = in_files or in_json
    if not found and LEGACY in files and target.first not in ("ollama", "tgi"):
        found = dict(_named(files.json_object(LEGACY), LEGACY))
    if not found:
        files.require("tokenizer_config.json", "there is no chat template")
        raise NotApplicable("there is no chat template")
    return found


@fact
def template_places(files: Files, tokenizer_config: JsonObject | None = None) -> Sequence[tuple[str, Template]]:
    """(name, template) for every place of the files that holds one, whichever of them a runtime reads."""
    legacy = _named(files.json_object(LEGACY), LEGACY) if LEGACY in files else ()
    return (*_named(tokenizer_config or {}), *_from_files(files), *legacy)


@fact
def is_chat(special_tokens: SpecialTokens, chat_template: Mapping[str, Template] | None = None) -> bool:
    """Whether this is a chat model: it has a template, or its EOS is a token that only ends turns."""
    return chat_template is not None or special_tokens.content("eos_token") in TURN_ENDS


def _named(content: JsonObject, file: str = "tokenizer_config.json") -> Iterator[tuple[str, Template]]:
    value, at = content.get("chat_template"), "/chat_template"
    if isinstance(value, str):
        yield "default", Template(value, file, at)
    elif isinstance(value, dict):
        for name, text in value.items():
            yield name, Template(_text(text, file, f"{at}/{name}"), file, f"{at}/{name}")
    elif isinstance(value, list):
        for i, item in enumerate(value):
            if not isinstance(item, dict) or not isinstance(item.get("name"), str):
                raise Malformed(file, "an entry of chat_template has no name and template", at=f"{at}/{i}")
            yield (
                item["name"],
                Template(_text(item.get("template"), file, f"{at}/{i}/template"), file, f"{at}/{i}/template"),
            )
    elif value is not None:
        raise Malformed(file, f"chat_template is a {json_type(value)}, expected a string or a list", at=at)


def _text(value: Any, file: str, at: str) -> str:
    if not isinstance(value, str):
        raise Malformed(file, f"the template is a {json_type(value)}, expected a string", at=at)
    return value


def _from_files(files: Files) -> Iterator[tuple[str, Template]]:
    if JINJA in files:
        yield "default", Template(files.text(JINJA), JINJA, None)
    for name in files.like(f"{TEMPLATE_FOLDER}/*.jinja"):
        yield name.split("/")[1].removesuffix(".jinja"), Template(files.text(name), name, None)
