"""A state dict seen as the safetensors file it would be saved as; bytes are made when they are read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

# torch's names for what safetensors calls otherwise.
DTYPES = {
    "torch.float32": "F32", "torch.float64": "F64", "torch.float16": "F16", "torch.bfloat16": "BF16",
    "torch.int8": "I8", "torch.uint8": "U8", "torch.int16": "I16", "torch.int32": "I32", "torch.int64": "I64",
    "torch.bool": "BOOL", "torch.float8_e4m3fn": "F8_E4M3", "torch.float8_e5m2": "F8_E5M2",
}  # fmt: skip


class TensorFile:
    """`size` in bytes, and any range of it. Tensors may live on any device but meta."""

    def __init__(self, tensors: Mapping[str, Any]) -> None:
        header, end = {}, 0
        self._spans: list[tuple[int, int, Any]] = []
        for name, tensor in tensors.items():
            start, end = end, end + tensor.numel() * tensor.element_size()
            dtype = DTYPES.get(str(tensor.dtype), "U8")
            header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [start, end]}
            self._spans.append((start, end, tensor))
        text = json.dumps(header).encode()
        self._header = len(text).to_bytes(8, "little") + text
        self.size = len(self._header) + end

    def stream(self, start: int, stop: int, chunk: int) -> Iterator[memoryview]:
        """Bytes [start, stop), in pieces of at most `chunk`. Raises OSError for a tensor that has no data."""
        while start < stop:
            piece = self._piece(start, min(stop, start + chunk))
            yield memoryview(piece)
            start += len(piece)

    def _piece(self, start: int, stop: int) -> bytes:
        base = len(self._header)
        if start < base:
            return self._header[start:stop]
        for low, high, tensor in self._spans:
            if base + low <= start < base + high:
                return _bytes(tensor, start - base - low, min(stop - base, high) - low)
        raise OSError(f"nothing at byte {start}")


def _bytes(tensor: Any, start: int, stop: int) -> bytes:
    import torch

    if tensor.is_meta:
        raise OSError("the parameters are on the meta device and have no values")
    width = tensor.element_size()
    first, last = start // width, -(-stop // width)
    flat = tensor.detach().reshape(-1)[first:last].contiguous().cpu()
    raw: bytes = flat.view(torch.uint8).numpy().tobytes()
    return raw[start - first * width : stop - first * width]
