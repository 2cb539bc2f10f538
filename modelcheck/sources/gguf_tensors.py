"""A GGUF's tensors seen as the safetensors file they were converted from; Q8_0 is unpacked as it is read."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelcheck.sources.gguf_header import TensorInfo
    from modelcheck.sources.local import LocalFolder

# ggml's types that are stored as safetensors stores them: {name: bytes of an element}.
PLAIN = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8, "I8": 1, "I16": 2, "I32": 4, "I64": 8}
# Blocks of 32 values: a float16 scale and 32 signed bytes.
UNPACKED, BLOCK, BLOCK_BYTES = "Q8_0", 32, 34
# What llama.cpp calls the two matrices that rules know by name; the others keep its names, layer by layer alike.
NAMES = {"token_embd.weight": "model.embed_tokens.weight", "output.weight": "lm_head.weight"}


class GgufTensors:
    """`size` in bytes of the safetensors file, and any range of it.

    F32, F16, BF16 and integers are there as they are, Q8_0 as F32. Other types have rows that are compared by nobody:
    they are bytes (U8) of the same rows, and the header says of what type (`ggml_type`).
    """

    def __init__(self, folder: LocalFolder, infos: Sequence[TensorInfo]) -> None:
        header: dict[str, Any] = {}
        self._folder, self._infos, self._starts = folder, infos, list[int]()
        end = 0
        for info in infos:
            self._starts.append(end)
            entry = _entry(info)
            start, end = end, end + entry.pop("size")
            header[NAMES.get(info.name, info.name)] = entry | {"data_offsets": [start, end]}
        text = json.dumps(header).encode()
        self._header = len(text).to_bytes(8, "little") + text
        self._starts.append(end)
        self.size = len(self._header) + end

    def stream(self, start: int, stop: int, chunk: int) -> Iterator[memoryview]:
        """Bytes [start, stop) in pieces of `chunk`, shorter at a tensor's end. Raises OSError for a file cut off."""
        self._refuse_cut()
        base = len(self._header)
        if start < base:
            yield memoryview(self._header)[start:stop]
            start = min(stop, base)
        while start < stop:
            number = bisect_right(self._starts, start - base) - 1
            first = base + self._starts[number]
            end = min(stop, base + self._starts[number + 1])
            yield from self._bytes(self._infos[number], start - first, end - first, chunk)
            start = end

    def _refuse_cut(self) -> None:
        for info in self._infos:
            if info.stop > (size := self._folder.sizes()[info.file]):
                raise OSError(f"the file is cut off: {info.name} ends at byte {info.stop}, the file at {size}")

    def _bytes(self, info: TensorInfo, start: int, stop: int, chunk: int) -> Iterator[memoryview]:
        if info.packing != UNPACKED:
            yield from self._folder.stream(info.file, info.start + start, info.start + stop, chunk)
            return
        for at in range(start, stop, chunk):
            yield self._unpacked(info, at, min(at + chunk, stop))

    def _unpacked(self, info: TensorInfo, start: int, stop: int) -> memoryview:
        import numpy as np

        first, last = start // (4 * BLOCK), -(-stop // (4 * BLOCK))
        raw = self._folder.read(info.file, info.start + first * BLOCK_BYTES, info.start + last * BLOCK_BYTES)
        blocks = np.frombuffer(raw, np.dtype([("scale", "<f2"), ("steps", "i1", BLOCK)]))
        with np.errstate(all="ignore"):
            values = blocks["steps"].astype(np.float32)
            values *= blocks["scale"].astype(np.float32)[:, None]
        return values.reshape(-1).view(np.uint8).data[start - first * 4 * BLOCK : stop - first * 4 * BLOCK]


def _entry(info: TensorInfo) -> dict[str, Any]:
    if info.packing in PLAIN:
        return {"dtype": info.packing, "shape": list(info.shape), "size": info.stop - info.start}
    if info.packing == UNPACKED:
        return {"dtype": "F32", "shape": list(info.shape), "size": 4 * prod(info.shape)}
    rows = prod(info.shape[:-1])
    size = info.stop - info.start
    return {"dtype": "U8", "shape": [rows, size // max(rows, 1)], "size": size, "ggml_type": info.packing}
