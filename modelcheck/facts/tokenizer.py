"""The tokenizer, from tokenizer.json through the `tokenizers` library, without transformers."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from modelcheck.fact import Malformed, Missing, NotApplicable, fact

from .conversion import CONVERTIBLE, REMEDY, convert
from .files import Files

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Backend

# The largest published tokenizer.json known to us is 33 MB (Gemma 3).
TOKENIZER_LIMIT = 128 << 20


class Tokenizer:
    """Text to ids as the checkpoint's tokenizer.json says; no truncation, no padding."""

    def __init__(self, backend: Backend) -> None:
        backend.no_truncation()
        backend.no_padding()
        self._backend = backend

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """The ids of a text; with `add_special_tokens`, those that the post-processor puts around it too."""
        return self._backend.encode(text, add_special_tokens=add_special_tokens).ids

    def id(self, content: str) -> int | None:
        """The id of a token by its text."""
        return self._backend.token_to_id(content)

    def token(self, number: int) -> str | None:
        """The text of a token by its id."""
        return self._backend.id_to_token(number)

    @cached_property
    def special(self) -> dict[int, str]:
        """{id: text} of the added tokens that are marked special."""
        return {i: t.content for i, t in self._backend.get_added_tokens_decoder().items() if t.special}

    @cached_property
    def added(self) -> dict[int, str]:
        """{id: text} of all added tokens."""
        return {i: t.content for i, t in self._backend.get_added_tokens_decoder().items()}

    @cached_property
    def prefix(self) -> tuple[int, ...]:
        """The ids that encoding a text puts before it: usually the BOS or nothing."""
        bare, framed = self.encode("a"), self.encode("a", add_special_tokens=True)
        for start in range(len(framed) - len(bare) + 1):
            if framed[start : start + len(bare)] == bare:
                return tuple(framed[:start])
        return ()

    @cached_property
    def size(self) -> int:
        """1 + the largest id, which is what the embedding needs rows for (not the number of tokens)."""
        return 1 + max(self._backend.get_vocab(with_added_tokens=True).values(), default=-1)


@fact
def tokenizer_json(files: Files) -> str:
    """The text of tokenizer.json."""
    files.require("tokenizer.json", "there is no tokenizer.json")
    text = files.text("tokenizer.json", TOKENIZER_LIMIT)
    if not text.strip():
        raise Malformed("tokenizer.json", "is empty, expected JSON")
    return text


@fact
def tokenizer(files: Files, tokenizer_json: str | None = None) -> Tokenizer:
    """The tokenizer of tokenizer.json, or what transformers makes of the files where there is none."""
    if tokenizer_json is not None:
        return Tokenizer(_load("tokenizer.json", tokenizer_json))
    if other := next((name for name in CONVERTIBLE if name in files), None):
        try:
            return Tokenizer(_load(other, convert(files)))
        except RuntimeError as reason:
            raise Missing(f"there is no tokenizer.json, only {other}, and {reason}", remedy=REMEDY) from reason
    if "tokenizer_config.json" in files:
        raise Missing("tokenizer_config.json is there but tokenizer.json is not", remedy="copy it from the base model")
    raise NotApplicable("there is no tokenizer")


def _load(file: str, text: str) -> Backend:
    from tokenizers import Tokenizer as Backend

    try:
        return Backend.from_str(text)
    except BaseException as error:
        # pyo3's PanicException derives from BaseException: a panic in the Rust parser is a bad file, not our crash.
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise Malformed(file, f"the tokenizers library refuses it: {error}") from error
        raise
