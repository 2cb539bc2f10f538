"""What each token adds to a text, in bytes: what a grammar needs to know of a tokenizer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from tokenizers import Tokenizer as Backend

# The bytes that occur in UTF-8, but for U+0000.
UTF8 = frozenset(range(0x01, 0x80)) | frozenset(range(0x80, 0xC0)) | frozenset(range(0xC2, 0xF5))
PRINTED = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
Step = Callable[[str | bytes], str | bytes]


class Unspellable(ValueError):
    """It cannot be said what the tokens of a tokenizer add to a text. The text says why."""


@dataclass(frozen=True)
class TokenBytes:
    """{id: bytes} of the tokens that write text, which special tokens do not.

    `drops_space`: decoding drops a space with which a text begins. `never_first` are the ids which decoding changes in
    some other way where they come first.
    """

    by_id: Mapping[int, bytes]
    drops_space: bool = False
    never_first: frozenset[int] = field(default=frozenset())

    @cached_property
    def complete(self) -> bool:
        """Whether any text can be written byte by byte."""
        return UTF8.issubset(token[0] for token in self.by_id.values() if len(token) == 1)

    @cached_property
    def _texts(self) -> dict[int, str]:
        """The tokens that are whole characters."""
        return {
            i: text
            for i, token in self.by_id.items()
            if (text := token.decode("utf-8", "replace")) and _is(text, token)
        }

    @cached_property
    def whole(self) -> npt.NDArray[np.int64]:
        """The ids of the tokens that are whole characters."""
        import numpy as np

        return np.fromiter(self._texts, dtype=np.int64)

    @cached_property
    def points(self) -> npt.NDArray[np.uint32]:
        """The code points of those tokens, one token after the other."""
        import numpy as np

        return np.frombuffer("".join(self._texts.values()).encode("utf-32-le"), dtype="<u4")

    @cached_property
    def ends(self) -> npt.NDArray[np.int64]:
        """Where in the code points each of those tokens ends."""
        import numpy as np

        return np.cumsum([len(text) for text in self._texts.values()])

    @cached_property
    def parts(self) -> list[tuple[int, bytes]]:
        """The other tokens, which begin or go on with a character, where they can be sure to be gone on with."""
        others = sorted(self.by_id.keys() - self._texts.keys()) if self.complete else ()
        return [(i, self.by_id[i]) for i in others if _within_utf8(self.by_id[i])]

    @cached_property
    def alphabet(self) -> tuple[tuple[int, int], ...]:
        """The characters, as ranges of code points, that can be written wherever they are wanted."""
        if self.complete:
            return ((0x01, 0x10FFFF),)
        points = {ord(text) for text in self._texts.values() if len(text) == 1}
        return tuple((point, point) for point in sorted(points))


def token_bytes(backend: Backend) -> TokenBytes:
    """What the tokens of a tokenizer add to a text. Raises Unspellable where its decoder does not go token by token."""
    if backend.decoder is None:
        raise Unspellable("it has no decoder, so that tokens are joined by spaces")
    steps, drops_space, unspaced = _steps(json.loads(backend.decoder.__getstate__()))
    special = {i for i, token in backend.get_added_tokens_decoder().items() if token.special}
    spelled, never_first = {}, set()
    for token, number in backend.get_vocab(with_added_tokens=True).items():
        if number in special or not token:
            continue
        spelled[number] = _spelled(token, steps)
        # Of a first token, this decoder drops every space, not only the one in front.
        if unspaced is not None and unspaced in token[1:]:
            never_first.add(number)
    return TokenBytes(spelled, drops_space, frozenset(never_first))


def _is(text: str, token: bytes) -> bool:
    return "\N{REPLACEMENT CHARACTER}" not in text or text.encode() == token


def _within_utf8(token: bytes) -> bool:
    """Whether it may stand in UTF-8: the end of a character, whole ones, and the beginning of another."""
    rest = token.lstrip(bytes(range(0x80, 0xC0)))
    if len(token) - len(rest) > 3:
        return False
    try:
        rest.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data"
    return True


def _spelled(token: str, steps: list[Step]) -> bytes:
    text: str | bytes = token
    for step in steps:
        text = step(text)
    return text if isinstance(text, bytes) else text.encode("utf-8", "replace")


def _steps(decoder: Mapping[str, Any]) -> tuple[list[Step], bool, str | None]:
    """What the decoder does to each token; whether it drops a first space; what Metaspace writes for a space."""
    steps: list[Step] = []
    drops_space, fused, unspaced = False, False, None
    for part in _flat(decoder):
        kind = part["type"]
        if kind == "ByteLevel":
            steps.append(_byte_level)
        elif kind == "ByteFallback":
            steps.append(_byte_fallback)
        elif kind == "Replace" and len(part["pattern"].get("String", "")) == 1:
            steps.append(_replacing(part["pattern"]["String"], part["content"]))
        elif kind == "Metaspace" and len(decoder.get("decoders", "1")) == 1:
            steps.append(_replacing(part["replacement"], " "))
            if part.get("prepend_scheme", "always") != "never":
                drops_space, unspaced = True, part["replacement"]
        elif kind == "Fuse":
            fused = True
        elif kind == "Strip" and fused and (part["content"], part["start"], part["stop"]) == (" ", 1, 0):
            drops_space = True
        else:
            raise Unspellable(f"its decoder {kind} does more than write one token after the other")
    return steps, drops_space, unspaced


def _flat(decoder: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if decoder["type"] == "Sequence":
        for part in decoder["decoders"]:
            yield from _flat(part)
    else:
        yield decoder


def _byte_characters() -> dict[str, int]:
    """{the character that GPT-2 writes for a byte: the byte}."""
    others = (byte for byte in range(256) if byte not in PRINTED)
    return {chr(byte): byte for byte in PRINTED} | {chr(256 + i): byte for i, byte in enumerate(others)}


BYTE_OF = _byte_characters()


def _byte_level(token: str | bytes) -> str | bytes:
    if isinstance(token, bytes) or not BYTE_OF.keys() >= set(token):
        return token  # an added token stands for itself
    return bytes(map(BYTE_OF.__getitem__, token))


def _byte_fallback(token: str | bytes) -> str | bytes:
    if isinstance(token, str) and len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        try:
            return bytes.fromhex(token[3:5])
        except ValueError:
            return token
    return token


def _replacing(old: str, new: str) -> Step:
    return lambda token: token.replace(old, new) if isinstance(token, str) else token
