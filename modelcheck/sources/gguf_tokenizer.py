"""A GGUF's tokenizer as the tokenizer.json and tokenizer_config.json that it was converted from."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from typing import Any

from modelcheck.sources import gguf_byte_level, gguf_sentencepiece
from modelcheck.sources.gguf_header import Array
from modelcheck.sources.gguf_types import CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED

ROLES = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "sep_token": "seperator",
         "pad_token": "padding", "mask_token": "mask"}  # fmt: skip
TEMPLATE = "tokenizer.chat_template"
# The texts at which llama.cpp ends generation, whatever the metadata names (llama-vocab.cpp, `special_eog_ids`).
ENDINGS = (
    *("<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<end_of_turn>", "<|endoftext|>", "<|eom_id|>"),
    *("<EOT>", "_<EOT>", "[EOT]", "<|end_of_text|>", "<end_of_utterance>"),
    "<\uff5cend\u2581of\u2581sentence\uff5c>",  # DeepSeek
)


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
        """Whether tokenizer.json can be made of it: SentencePiece's, or a byte-level BPE of a known way to cut texts.

        Scores that are all alike, of a conversion that had none at hand, say nothing of the order of merges.
        """
        if not self.there:
            return False
        if self._sentencepiece:
            scores = self._values.get("tokenizer.ggml.scores")
            return isinstance(scores, Array) and len(scores) == self.size and scores.varied
        merges = isinstance(self._values.get("tokenizer.ggml.merges"), Array)
        return merges and self._model == "gpt2" and self._pre in gguf_byte_level.PRE_TOKENIZERS

    @property
    def size(self) -> int:
        """The number of tokens, placeholders included."""
        return len(self._values["tokenizer.ggml.tokens"])

    @property
    def _model(self) -> object:
        return self._values.get("tokenizer.ggml.model")

    @property
    def _sentencepiece(self) -> bool:
        return self._model == "llama"

    @property
    def _pre(self) -> object:
        return self._values.get("tokenizer.ggml.pre")

    @cached_property
    def _tokens(self) -> list[str]:
        tokens = self._values["tokenizer.ggml.tokens"].values
        if not all(isinstance(token, str) for token in tokens):
            raise ValueError("tokenizer.ggml.tokens is no array of strings")
        if self._sentencepiece:
            return list(map(gguf_sentencepiece.spelled, tokens, self._types))
        return list(tokens)

    @cached_property
    def _types(self) -> list[int]:
        types = self._values.get("tokenizer.ggml.token_type")
        return types.values if isinstance(types, Array) and len(types) == self.size else [NORMAL] * self.size

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
            content["added_tokens_decoder"] = {str(token["id"]): token for token in self._added(self.ids.values())}
        if templates := list(self._templates()):
            alone = len(templates) == 1 and templates[0]["name"] == "default"
            content["chat_template"] = templates[0]["template"] if alone else templates
        return json.dumps(content).encode()

    def _templates(self) -> Iterator[dict[str, str]]:
        for key, value in self._values.items():
            if isinstance(value, str) and (key == TEMPLATE or key.startswith(f"{TEMPLATE}.")):
                yield {"name": key.removeprefix(TEMPLATE).removeprefix(".") or "default", "template": value}

    def _added(self, named: Collection[int] = ()) -> Iterator[dict[str, Any]]:
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        for number, (content, kind) in enumerate(zip(self._tokens, self._types, strict=True)):
            if kind in (CONTROL, USER_DEFINED, UNKNOWN) or number in named:
                yield {"id": number, "content": content, **flags, "special": kind != USER_DEFINED}

    def json(self) -> bytes:
        """tokenizer.json. Placeholders (UNUSED) are left out: the tokenizer that was converted had no such tokens."""
        kinds = zip(self._tokens, self._types, strict=True)
        vocabulary = {token: number for number, (token, kind) in enumerate(kinds) if kind != UNUSED}
        parts = self._sentencepiece_parts() if self._sentencepiece else self._byte_level_parts()
        document = {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": list(self._added()),
            **parts,
            "post_processor": self._framing(),
        }
        document["model"]["vocab"] = vocabulary
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()

    def _byte_level_parts(self) -> dict[str, Any]:
        return gguf_byte_level.parts(str(self._pre), self._values["tokenizer.ggml.merges"].values)

    def _sentencepiece_parts(self) -> dict[str, Any]:
        scores, prefixed = self._values["tokenizer.ggml.scores"].values, self._said("add_space_prefix", default=True)
        return gguf_sentencepiece.parts(self._tokens, self._types, scores, prefixed=prefixed)

    def _framing(self) -> dict[str, Any]:
        """What encoding puts around a text: as the metadata says or, where it does not, as llama.cpp has it."""
        adds_bos = self._sentencepiece or self._pre in gguf_byte_level.ADDS_BOS
        before = self._added_token("bos_token", default=adds_bos)
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
        added, number = self._said(f"add_{role}", default=default), self.ids.get(role)
        return [number] if added and number is not None and 0 <= number < self.size else []

    def _said(self, flag: str, *, default: bool) -> bool:
        """What the metadata says or, where it does not, what llama.cpp takes for granted."""
        said = self._values.get(f"tokenizer.ggml.{flag}")
        return said if isinstance(said, bool) else default
