"""A GGUF's tokenizer as the tokenizer.json and tokenizer_config.json that it was converted from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from modelcheck.sources.gguf_header import Array

# llama.cpp's types of tokens. It fills ids that no token has with placeholders of type UNUSED.
CONTROL, USER_DEFINED, UNUSED = 3, 4, 5
ROLES = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "sep_token": "seperator",
         "pad_token": "padding", "mask_token": "mask"}  # fmt: skip
TEMPLATE = "tokenizer.chat_template"
# The texts at which llama.cpp ends generation, whatever the metadata names (llama-vocab.cpp, `special_eog_ids`).
ENDINGS = (
    *("<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<end_of_turn>", "<|endoftext|>", "<|eom_id|>"),
    *("<EOT>", "_<EOT>", "[EOT]", "<|end_of_text|>", "<end_of_utterance>"),
    "<\uff5cend\u2581of\u2581sentence\uff5c>",  # DeepSeek
)
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
GPT2 = BYTE_LEVEL | {"use_regex": True}
CONTRACTED = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
TAIL = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CAPITALS, SMALL = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


def _split(*patterns: str) -> dict[str, Any]:
    cuts = [{"type": "Split", "pattern": {"Regex": p}, "behavior": "Isolated", "invert": False} for p in patterns]
    return {"type": "Sequence", "pretokenizers": [*cuts, BYTE_LEVEL]}


LLAMA3 = _split(rf"{CONTRACTED}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{TAIL}")
# {tokenizer.ggml.pre: how texts are cut}, as in the tokenizer.json of the models that each is named after. tests/slow
# holds those of the real ones against them, id for id.
PRE_TOKENIZERS: Mapping[str, Mapping[str, Any]] = {
    "gpt-2": GPT2,
    "smollm": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, GPT2]},
    "llama-bpe": LLAMA3,
    "llama3": LLAMA3,
    "llama-v3": LLAMA3,
    "qwen2": _split(rf"{CONTRACTED}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{TAIL}"),
    "gpt-4o": _split(
        rf"[^\r\n\p{{L}}\p{{N}}]?{CAPITALS}*{SMALL}+{CONTRACTED}?|[^\r\n\p{{L}}\p{{N}}]?{CAPITALS}+{SMALL}*"
        rf"{CONTRACTED}?|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    "deepseek-v3": _split(
        r"\p{N}{1,3}",
        "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
        r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
        r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
}
WHOLE_WORDS_FIRST = frozenset({"llama-bpe", "llama3", "llama-v3", "gpt-4o"})
ADDS_BOS = frozenset({"llama-bpe", "llama3", "llama-v3"})


class GgufTokenizer:
    """The tokenizer in the metadata `values` of a GGUF; `ids` are those of the special tokens, by role."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        ids = {role: values.get(f"tokenizer.ggml.{name}_token_id") for role, name in ROLES.items()}
        self.ids: dict[str, int] = {role: number for role, number in ids.items() if type(number) is int}

    @property
    def there(self) -> bool:
        """Whether there is one at all."""
        return isinstance(self._values.get("tokenizer.ggml.tokens"), Array)

    @property
    def faithful(self) -> bool:
        """Whether tokenizer.json can be made of it: a byte-level BPE whose way to cut texts is known."""
        merges = isinstance(self._values.get("tokenizer.ggml.merges"), Array)
        return self.there and merges and self._model == "gpt2" and self._pre in PRE_TOKENIZERS

    @property
    def size(self) -> int:
        """The number of tokens, placeholders included."""
        return len(self._values["tokenizer.ggml.tokens"])

    @property
    def _model(self) -> object:
        return self._values.get("tokenizer.ggml.model")

    @property
    def _pre(self) -> object:
        return self._values.get("tokenizer.ggml.pre")

    @cached_property
    def _tokens(self) -> list[str]:
        tokens = self._values["tokenizer.ggml.tokens"].values
        if not all(isinstance(token, str) for token in tokens):
            raise ValueError("tokenizer.ggml.tokens is no array of strings")
        return list(tokens)

    @cached_property
    def _types(self) -> list[int]:
        types = self._values.get("tokenizer.ggml.token_type")
        return types.values if isinstance(types, Array) and len(types) == self.size else [1] * self.size

    def stop_ids(self) -> list[int]:
        """The ids at which llama.cpp ends generation: those that are named, then by text, if the template has them."""
        named = [self._values.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot", "eom")]
        by_text = []
        if self.there and (template := self._values.get(TEMPLATE)) and isinstance(template, str):
            by_text = [self._tokens.index(text) for text in ENDINGS if text in template and text in self._known]
        return list(dict.fromkeys(number for number in (*named, *by_text) if type(number) is int))

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self._tokens)

    def config(self) -> bytes:
        """tokenizer_config.json."""
        content: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast"}
        for role, number in self.ids.items():
            # An id without a token: the ids in config.json are then what rules judge.
            if 0 <= number < self.size:
                content[role] = self._tokens[number]
        for flag in ("add_bos_token", "add_eos_token"):
            if isinstance(value := self._values.get(f"tokenizer.ggml.{flag}"), bool):
                content[flag] = value
        if not self.faithful:
            content["added_tokens_decoder"] = {str(token["id"]): token for token in self._added()}
        if templates := list(self._templates()):
            alone = len(templates) == 1 and templates[0]["name"] == "default"
            content["chat_template"] = templates[0]["template"] if alone else templates
        return json.dumps(content).encode()

    def _templates(self) -> Iterator[dict[str, str]]:
        for key, value in self._values.items():
            if isinstance(value, str) and (key == TEMPLATE or key.startswith(f"{TEMPLATE}.")):
                yield {"name": key.removeprefix(TEMPLATE).removeprefix(".") or "default", "template": value}

    def _added(self) -> Iterator[dict[str, Any]]:
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        for number, (content, kind) in enumerate(zip(self._tokens, self._types, strict=True)):
            if kind in (CONTROL, USER_DEFINED):
                yield {"id": number, "content": content, **flags, "special": kind == CONTROL}

    def json(self) -> bytes:
        """tokenizer.json. Placeholders are left out: the tokenizer that was converted had no such tokens."""
        kinds = zip(self._tokens, self._types, strict=True)
        vocabulary = {token: number for number, (token, kind) in enumerate(kinds) if kind != UNUSED}
        document = {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": list(self._added()),
            "normalizer": {"type": "NFC"} if self._pre == "qwen2" else None,
            "pre_tokenizer": PRE_TOKENIZERS[str(self._pre)],
            "post_processor": self._framing(),
            "decoder": BYTE_LEVEL,
            "model": {
                "type": "BPE",
                "ignore_merges": self._pre in WHOLE_WORDS_FIRST,
                "vocab": vocabulary,
                "merges": self._values["tokenizer.ggml.merges"].values,
            },
        }
        return json.dumps(document).encode()

    def _framing(self) -> dict[str, Any]:
        """What encoding puts around a text: as the metadata says or, where it does not, as llama.cpp has it."""
        before = self._added_token("bos_token", default=self._pre in ADDS_BOS)
        after = self._added_token("eos_token", default=False)
        named = {self._tokens[number]: number for number in (*before, *after)}
        single: list[dict[str, Any]] = [
            *({"SpecialToken": {"id": self._tokens[number], "type_id": 0}} for number in before),
            {"Sequence": {"id": "A", "type_id": 0}},
            *({"SpecialToken": {"id": self._tokens[number], "type_id": 0}} for number in after),
        ]
        return {
            "type": "TemplateProcessing",
            "single": single,
            "pair": [*single, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {text: {"id": text, "ids": [number], "tokens": [text]} for text, number in named.items()},
        }

    def _added_token(self, role: str, *, default: bool) -> list[int]:
        """The id of that role, if encoding adds it."""
        said, number = self._values.get(f"tokenizer.ggml.add_{role}"), self.ids.get(role)
        added = said if isinstance(said, bool) else default
        return [number] if added and number is not None and 0 <= number < self.size else []
