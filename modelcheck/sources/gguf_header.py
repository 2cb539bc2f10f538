"""The head of a GGUF file: its metadata and where its tensors lie, every number checked before it is believed.

The gguf package's own reader makes an object of each string of each array: 2.6 s for the 49,000 tokens of SmolLM2,
31 s for the 262,000 of Gemma 3. Here arrays are stepped over and decoded when asked for: 0.02 s for the former.
The package says which types there are and what their blocks take.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

from modelcheck.errors import UsageError
from modelcheck.sources.local import LocalFolder

# gpt-oss has 446,000 merges, the longest array known to us.
HEAD_LIMIT, MOST_ELEMENTS = 128 << 20, 4_000_000
MOST_KEYS, MOST_TENSORS = 1 << 14, 1 << 17
# ggml's own bounds.
MOST_DIMENSIONS, DEFAULT_ALIGNMENT = 4, 32
STEP = 1 << 20
# struct's letters for the numbers of the format; a string is none, an array is 9.
NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Bytes [start, stop) of the file hold the tensor, `shape` in rows first, packed as ggml's type `packing`."""

    name: str
    packing: str
    shape: tuple[int, ...]
    file: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Head:
    """What stands before the tensors' bytes. Arrays are `Array`s."""

    values: Mapping[str, Any]
    tensors: tuple[TensorInfo, ...]


class Array:
    """An array of the metadata, decoded when its values are asked for."""

    def __init__(self, content: bytearray, kind: int, start: int, count: int) -> None:
        self._content, self._kind, self._start, self._count = content, kind, start, count

    def __len__(self) -> int:
        return self._count

    @property
    def varied(self) -> bool:
        """Whether these are numbers and not all the same one, told without decoding them."""
        if self._kind == STRING:
            return False
        size = struct.calcsize(f"<{NUMBERS[self._kind]}")
        own = memoryview(self._content)[self._start : self._start + self._count * size]
        return own[size:] != own[:-size]

    @cached_property
    def values(self) -> list[Any]:
        """Strings or numbers. Raises UnicodeDecodeError for a string that is not UTF-8."""
        if self._kind != STRING:
            return list(struct.unpack_from(f"<{self._count}{NUMBERS[self._kind]}", self._content, self._start))
        found, at = [], self._start
        for _ in range(self._count):
            stop = at + 8 + int.from_bytes(self._content[at : at + 8], "little")
            found.append(self._content[at + 8 : stop].decode("utf-8"))
            at = stop
        return found


def read_head(folder: LocalFolder, name: str) -> Head:
    """The head of a GGUF file. Raises UsageError, naming the place, for what is none or is cut off in it."""
    return _Reader(folder, name).head()


class _Reader:
    def __init__(self, folder: LocalFolder, name: str) -> None:
        self._folder, self._name = folder, name
        self._size = folder.sizes()[name]
        self._content, self._at, self._elements = bytearray(), 0, 0

    def head(self) -> Head:
        if self._size < 24 or self._take(4, "the magic number") != b"GGUF":
            raise self._broken("is no GGUF file: it does not begin with GGUF and three numbers")
        version = self._number("I", "the version")
        if version & 0xFFFF == 0:
            raise self._broken("is a big-endian GGUF, which runs on no common machine; convert it for this one")
        if version not in (2, 3):
            raise self._broken(f"has version {version} of the format, expected 2 or 3: convert the model again")
        tensors, keys = self._number("Q", "the number of tensors"), self._number("Q", "the number of keys")
        if tensors > MOST_TENSORS or keys > MOST_KEYS:
            raise self._broken(f"announces {tensors} tensors and {keys} keys, more than any model has")
        values: dict[str, Any] = {}
        for _ in range(keys):
            key = self._text("a key")
            if key in values:
                raise self._broken(f"has the key {key!r:.60} twice")
            values[key] = self._value(key)
        infos = [self._info() for _ in range(tensors)]
        return Head(values, self._placed(infos, values.get("general.alignment", DEFAULT_ALIGNMENT)))

    def _value(self, key: str) -> Any:
        kind = self._number("I", key)
        if kind == STRING:
            return self._text(key)
        if kind in NUMBERS:
            return self._number(NUMBERS[kind], key)
        if kind != ARRAY:
            raise self._broken(f"gives {key!r:.60} the type {kind}, which the format has not")
        return self._array(key)

    def _array(self, key: str) -> Array:
        kind, count = self._number("I", key), self._number("Q", key)
        self._elements += count
        if self._elements > MOST_ELEMENTS:
            raise self._broken(f"announces arrays of {self._elements} elements by {key!r:.60}, more than any model has")
        if kind != STRING and kind not in NUMBERS:
            raise self._broken(f"holds arrays of type {kind} in {key!r:.60}, which no reader takes")
        start = self._at
        if kind == STRING:
            self._skip_strings(count, key)
        else:
            self._skip(count * struct.calcsize(f"<{NUMBERS[kind]}"), key)
        return Array(self._content, kind, start, count)

    def _skip_strings(self, count: int, key: str) -> None:
        at, length = self._at, struct.Struct("<Q").unpack_from
        for _ in range(count):
            if at + 8 > len(self._content):
                self._read_on(at + 8, key)
            at += 8 + length(self._content, at)[0]
        self._skip(at - self._at, key)

    def _info(self) -> tuple[str, tuple[int, ...], int, int]:
        name = self._text("a tensor's name")
        dimensions = self._number("I", name)
        if dimensions > MOST_DIMENSIONS:
            raise self._broken(f"gives {name!r:.60} {dimensions} dimensions, ggml has at most {MOST_DIMENSIONS}")
        shape = tuple(self._number("Q", name) for _ in range(dimensions))
        return name, shape[::-1], self._number("I", name), self._number("Q", name)

    def _placed(self, infos: list[tuple[str, tuple[int, ...], int, int]], alignment: Any) -> tuple[TensorInfo, ...]:
        from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

        if type(alignment) is not int or not 0 < alignment <= STEP or alignment & (alignment - 1):
            raise self._broken(f"has general.alignment {alignment!r:.60}, expected a power of two")
        base = -(-self._at // alignment) * alignment
        found: dict[str, TensorInfo] = {}
        known = {int(kind): kind for kind in GGMLQuantizationType}
        for name, shape, number, offset in infos:
            if name in found:
                raise self._broken(f"names the tensor {name!r:.60} twice")
            # A type that the installed package does not know has a size that nobody here knows.
            block, size = GGML_QUANT_SIZES[known[number]] if number in known else (1, 0)
            packing = known[number].name if number in known else f"type {number}"
            if prod(shape) >= 1 << 62 or (shape and shape[-1] % block):
                raise self._broken(
                    f"gives {name!r:.60} the shape {list(shape)}, expected rows of whole blocks of {block}"
                )
            start = base + offset
            found[name] = TensorInfo(name, packing, shape, self._name, start, start + prod(shape) // block * size)
        return tuple(found.values())

    def _text(self, what: str) -> str:
        raw = self._take(self._number("Q", what), what)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self._broken(f"is not UTF-8 in {what!r:.60}: {error.reason}") from None

    def _number(self, letter: str, what: str) -> Any:
        size = struct.calcsize(f"<{letter}")
        self._skip(size, what)
        return struct.unpack_from(f"<{letter}", self._content, self._at - size)[0]

    def _take(self, count: int, what: str) -> bytes:
        self._skip(count, what)
        return bytes(self._content[self._at - count : self._at])

    def _skip(self, count: int, what: str) -> None:
        stop = self._at + count
        if stop > len(self._content):
            self._read_on(stop, what)
        self._at = stop

    def _read_on(self, stop: int, what: str) -> None:
        if stop > self._size:
            raise self._broken(f"is cut off or damaged: it ends after {self._size} bytes, inside {what!r:.60}")
        if stop > HEAD_LIMIT:
            raise self._broken(f"has more than {HEAD_LIMIT >> 20} MB of metadata, in {what!r:.60}")
        have = len(self._content)
        try:
            self._content += self._folder.read(self._name, have, min(max(stop, 2 * have, STEP), self._size))
        except OSError as error:
            raise self._broken(f"cannot be read: {error.strerror or error}") from None

    def _broken(self, problem: str) -> UsageError:
        return UsageError(f"{self._folder.path / self._name}: {problem}")
