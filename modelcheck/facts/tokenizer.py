"""The tokenizer, from tokenizer.json through the `tokenizers` library, without transformers."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING

from modelcheck.fact import Malformed, Missing, NotApplicable, fact, reads
from modelcheck.names import CONVERTIBLE

from .conversion import REMEDY, convert
from .files import Files, refuse_crowded, shorten
from .token_bytes import TokenBytes, token_bytes

if TYPE_CHECKING:
    from tokenizers import Encoding
    from tokenizers import Tokenizer as Backend

# The largest published tokenizer.json known to us is 33 MB (Gemma 3).
TOKENIZER_LIMIT = 48 << 20


class Tokenizer:
    """Text to ids as the checkpoint's tokenizer.json says; no truncation, no padding."""

    def __init__(self, backend: Backend, file: str = "tokenizer.json") -> None:
        backend.no_truncation()
        backend.no_padding()
        self._backend, self._file = backend, file

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """The ids of a text; with `add_special_tokens`, those that the post-processor puts around it too."""
        return self._encoding(text, add_special_tokens=add_special_tokens).ids

    def pieces(self, text: str) -> list[tuple[int, int, int]]:
        """(id, start, end) of every token of a text, without what the post-processor adds."""
        encoding = self._encoding(text, add_special_tokens=False)
        return [(i, start, end) for i, (start, end) in zip(encoding.ids, encoding.offsets, strict=True)]

    def _encoding(self, text: str, *, add_special_tokens: bool) -> Encoding:
        try:
            return self._backend.encode(text, add_special_tokens=add_special_tokens)
        except BaseException as error:
            problem = f"the tokenizers library cannot encode {shorten(text)} with it: {error}"
            if is_panic(error):
                raise Malformed(self._file, problem) from error
            if isinstance(error, Exception):  # no unknown token, and a character that it does not know
                raise Missing(f"{self._file}: {problem}") from error
            raise

    def id(self, content: str) -> int | None:
        """The id of a token by its text."""
        try:
            return self._backend.token_to_id(content)
        except UnicodeEncodeError:  # half of a surrogate pair, which no token holds
            return None

    def token(self, number: int) -> str | None:
        """The text of a token by its id."""
        return self._backend.id_to_token(number) if 0 <= number < 1 << 32 else None

    def probe(self) -> None:
        """Encode a letter in every way, so that a panic comes now. Raises Malformed for one."""
        for framed in (False, True):
            with suppress(Missing):
                self.encode("a", add_special_tokens=framed)

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
    def written(self) -> TokenBytes:
        """What each token adds to a text. Raises Unspellable where its decoder does not go token by token."""
        return token_bytes(self._backend)

    def back(self, text: str) -> str:
        """The text, encoded and decoded again."""
        return self._backend.decode(self.encode(text), skip_special_tokens=False)

    @cached_property
    def ids(self) -> dict[str, int]:
        """{token: id} of the whole vocabulary, added tokens too."""
        return self._backend.get_vocab(with_added_tokens=True)

    @cached_property
    def size(self) -> int:
        """1 + the largest id, which is what the embedding needs rows for (not the number of tokens)."""
        return 1 + max(self._backend.get_vocab(with_added_tokens=True).values(), default=-1)

    def beyond(self, rows: int) -> dict[int, str]:
        """{id: text} of the tokens for which a matrix of that many rows has none."""
        if self.size <= rows:
            return {}
        vocabulary = self._backend.get_vocab(with_added_tokens=True)
        return dict(sorted((number, token) for token, number in vocabulary.items() if number >= rows))


@reads("tokenizer.json")
@fact
def tokenizer_json(files: Files) -> str:
    """The text of tokenizer.json."""
    files.require("tokenizer.json", "there is no tokenizer.json")
    text = files.text("tokenizer.json", TOKENIZER_LIMIT)
    if not text.strip():
        raise Malformed("tokenizer.json", "is empty, expected JSON")
    refuse_crowded("tokenizer.json", text)
    return text


@fact
def tokenizer(files: Files, tokenizer_json: str | None = None) -> Tokenizer:
    """The tokenizer of tokenizer.json, or what transformers makes of the files where there is none."""
    if tokenizer_json is not None:
        return load("tokenizer.json", tokenizer_json)
    if other := next((name for name in CONVERTIBLE if name in files), None):
        try:
            return load(other, convert(files))
        except RuntimeError as reason:
            raise Missing(f"there is no tokenizer.json, only {other}, and {reason}", remedy=REMEDY) from reason
    if "tokenizer_config.json" in files:
        files.refuse_unpassed("tokenizer.json")
        raise Missing("tokenizer_config.json is there but tokenizer.json is not", remedy="copy it from the base model")
    raise NotApplicable("there is no tokenizer")


def load(file: str, text: str) -> Tokenizer:
    """A tokenizer of that text. Raises Malformed naming the file where the library refuses it."""
    from tokenizers import Tokenizer as Backend

    try:
        with _silent_panics():
            tokenizer = Tokenizer(Backend.from_str(text), file)
            tokenizer.probe()
    except Malformed:
        raise
    except BaseException as error:
        # A panic in the Rust parser is a bad file, not our crash.
        if is_panic(error) or isinstance(error, Exception):
            raise Malformed(file, f"the tokenizers library refuses it: {error}") from error
        raise
    return tokenizer


def is_panic(error: BaseException) -> bool:
    """Whether Rust code panicked: pyo3's exception derives from BaseException and cannot be imported."""
    return type(error).__name__ == "PanicException"


# Of standard error there is one for all threads of a process, which a worker of a cluster may have several of.
STANDARD_ERROR = threading.Lock()


@contextmanager
def _silent_panics() -> Iterator[None]:
    # Rust prints a panic, with a backtrace, to the process's standard error before anybody can catch it.
    with STANDARD_ERROR:
        kept, sink = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(sink)
