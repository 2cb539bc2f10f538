"""A GGUF file, presented as the files it was converted from, so that every fact has one definition."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from modelcheck import tables
from modelcheck.errors import UsageError
from modelcheck.names import SINGLE
from modelcheck.sources.gguf_header import read_head
from modelcheck.sources.gguf_tensors import NAMES, GgufTensors
from modelcheck.sources.gguf_tokenizer import ROLES, TEMPLATE, GgufTokenizer
from modelcheck.sources.local import LocalFolder

# Model types whose name at llama.cpp is another one. Its `llama` is Mistral and Mixtral as well, which are alike here.
MODEL_TYPES = {"qwen2moe": "qwen2_moe", "qwen3moe": "qwen3_moe", "gemma3": "gemma3_text", "command-r": "cohere"}
# {key of config.json: key below the architecture's name}.
SIZES = {
    "vocab_size": "vocab_size",
    "max_position_embeddings": "context_length",
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "sliding_window": "attention.sliding_window",
    "rope_theta": "rope.freq_base",
}
PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")
# What an absent tokenizer.json is called in the report (modelcheck.fact.NotPassed).
UNFAITHFUL = "tokenizer of the GGUF"


class GgufFile:
    """A source over one GGUF, or over all parts of a split one. A file is made when its size or content is wanted."""

    kind = "gguf"

    def __init__(self, path: Path) -> None:
        """Raises UsageError for a file that is no GGUF of a model, and where the gguf package is not installed."""
        if find_spec("gguf") is None:
            raise UsageError(f"{path}: reading a GGUF needs the gguf package: pip install 'modelcheck[gguf]'")
        self._name, folder = path.name, LocalFolder(path.parent)
        heads = [read_head(folder, part) for part in _parts(folder, path.name)]
        self._values = heads[0].values
        self._tensors = [info for head in heads for info in head.tensors]
        if (kind := self._values.get("general.type", "model")) != "model":
            raise UsageError(f"{path}: is a GGUF of type {kind!r:.40}, expected a model")
        self._tokenizer = GgufTokenizer(self._values)
        self._weights = GgufTensors(folder, self._tensors) if self._tensors else None
        made: dict[str, Callable[[], bytes]] = {"config.json": self._config}
        if self._tokenizer.there:
            made["tokenizer_config.json"] = self._tokenizer.config
        if self._tokenizer.faithful:
            made["tokenizer.json"] = self._tokenizer.json
        self._made = _Made(made, {SINGLE: self._weights.size} if self._weights else {})
        self.absent = {"tokenizer.json": UNFAITHFUL} if self._tokenizer.there and not self._tokenizer.faithful else {}

    def sizes(self) -> Mapping[str, int]:
        return self._made

    def read(self, name: str, start: int, stop: int) -> bytes:
        return b"".join(bytes(piece) for piece in self.stream(name, start, stop, max(stop - start, 1)))

    def stream(self, name: str, start: int, stop: int, chunk: int) -> Iterator[memoryview]:
        if name == SINGLE and self._weights:
            return self._weights.stream(start, stop, chunk)
        return iter([memoryview(self._made.content(name))[start:stop]])

    def shown(self, name: str) -> str:
        return self._name

    def outside(self, name: str) -> str | None:
        return None

    def key(self, name: str, at: str | None) -> str | None:
        """The key of the metadata, or the tensor, that a place in a file was made of; the place itself for others."""
        first = (at or "").removeprefix("/").partition("/")[0]
        if name == SINGLE:
            return next((own for own, theirs in NAMES.items() if theirs == at), at)
        if first in SIZES:
            return f"{self._architecture}.{SIZES[first]}"
        role = first.removesuffix("_id")
        if role in ROLES:
            return f"tokenizer.ggml.{ROLES[role]}_token_id"
        places = {"chat_template": TEMPLATE, "post_processor": "tokenizer.ggml.add_bos_token"}
        places |= dict.fromkeys(("model", "added_tokens"), "tokenizer.ggml.tokens")
        return places.get(first, "general.architecture" if first in ("model_type", "architectures") else at)

    @property
    def _architecture(self) -> str:
        return str(self._values.get("general.architecture", ""))

    def _config(self) -> bytes:
        classes: Mapping[str, str] = tables.load("transformers.json")["classes"]
        name = MODEL_TYPES.get(self._architecture, self._architecture.replace("-", "_"))
        causal = [c for c in classes.get(name, "").split() if c.endswith(("ForCausalLM", "LMHeadModel"))]
        content: dict[str, Any] = {"model_type": name, "architectures": causal[:1]} if causal else {}
        for key, own in SIZES.items():
            value = self._values.get(f"{self._architecture}.{own}")
            if type(value) in (int, float):  # what differs from layer to layer is an array
                content[key] = value
        if self._tokenizer.there:
            content.setdefault("vocab_size", self._tokenizer.size)
        content |= {f"{role}_id": number for role, number in self._tokenizer.ids.items()}
        if stops := self._tokenizer.stop_ids():
            content["eos_token_id"] = stops[0] if len(stops) == 1 else stops
        if self._tensors:
            content["tie_word_embeddings"] = all(info.name != "output.weight" for info in self._tensors)
        return json.dumps(content).encode()


class _Made(Mapping[str, int]):
    """{file name: size}; the contents are made when a size or a content is asked for, once."""

    def __init__(self, made: Mapping[str, Callable[[], bytes]], given: Mapping[str, int]) -> None:
        self._makers, self._given = made, given
        self._contents: dict[str, bytes | Exception] = {}

    def content(self, name: str) -> bytes:
        """Raises OSError where the metadata is such that no file can be made of it."""
        if name not in self._contents:
            try:
                self._contents[name] = self._makers[name]()
            except (ValueError, TypeError) as error:
                self._contents[name] = error
        found = self._contents[name]
        if isinstance(found, Exception):
            raise OSError(f"the metadata cannot be understood: {found}")
        return found

    def __getitem__(self, name: str) -> int:
        if name in self._given:
            return self._given[name]
        try:
            return len(self.content(name))
        except OSError:
            return 0  # reading it says why

    def __iter__(self) -> Iterator[str]:
        yield from (*self._makers, *self._given)

    def __len__(self) -> int:
        return len(self._makers) + len(self._given)


def _parts(folder: LocalFolder, name: str) -> list[str]:
    """The files of a model that is split, or the one that it is in. Raises UsageError where a part is not there."""
    if not (found := PART.search(name)) or not int(found[2]):
        return [name]
    parts = [f"{name[: found.start()]}-{number + 1:05}-of-{found[2]}.gguf" for number in range(int(found[2]))]
    for part in parts:
        if part not in folder.sizes():
            raise UsageError(f"{folder.path / name}: is one of {len(parts)} parts, and {part} is not beside it")
    return parts
