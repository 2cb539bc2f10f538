"""Tensor names, types and shapes from safetensors headers; no tensor byte is read here."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

from modelcheck.fact import Malformed, Missing, Unfetched, fact
from modelcheck.names import INDEX, SINGLE

from .files import Files, json_type, refuse_crowded, shorten
from .weight_index import WeightIndex, escape

# The hub's own bound; the safetensors library refuses headers above 100 MB. DeepSeek-V3's largest is 0.1 MB.
HEADER_LIMIT = 25 << 20
# A tensor takes seven. DeepSeek-V3 has 92,000 tensors in 163 shards.
HEADER_ELEMENTS = 1_000_000
# What is fetched of a shard far away before the length of its header is known: most headers whole.
FIRST = 64 << 10
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
# Bits of one element, by the names of the safetensors format (0.8).
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "F64": 64, "I64": 64, "U64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where a tensor lies: bytes [start, stop) of `file`, of type `dtype` (safetensors' name), `shape` in elements.

    `ggml_type` is set for one that a GGUF packs in blocks: its rows are then bytes.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: str
    start: int
    stop: int
    ggml_type: str | None = None


class Tensors(Mapping[str, Tensor]):
    """{tensor name: where it lies} over all shards at hand; `absent` names the shards that are not."""

    def __init__(self, tensors: Mapping[str, Tensor], absent: Mapping[str, str]) -> None:
        self._tensors = tensors
        self.absent = absent

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


@dataclass(frozen=True, slots=True)
class Shard:
    """The header of one safetensors file, or why it cannot be used."""

    tensors: Mapping[str, Tensor]
    broken: Malformed | None = None


class Shards(Mapping[str, Shard]):
    """{file name: header}, each read when it is wanted, and all together where all are."""

    def __init__(self, files: Files, names: Iterable[str]) -> None:
        self._files, self._names = files, dict.fromkeys(names)
        self._read: dict[str, Shard] = {}
        # The network is asked no second time for what it did not give.
        self._failure: Unfetched | None = None

    def __getitem__(self, name: str) -> Shard:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._read:
            with self._once():
                self._read[name] = _shard(self._files, name)
        return self._read[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        unread = [name for name in self._names if name not in self._read]
        with self._once():
            self._files.expect((name, 0, min(self._files.size(name), FIRST)) for name in unread)
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    @contextmanager
    def _once(self) -> Iterator[None]:
        if self._failure:
            raise self._failure.with_traceback(None)
        try:
            yield
        except Unfetched as failure:
            self._failure = failure
            raise


@fact
def shards(files: Files, weight_index: WeightIndex | None = None) -> Mapping[str, Shard]:
    """{file name: header} of the safetensors files that loaders would read and that are in the folder.

    As they choose: the single file, else what the index names, else whatever lies there.
    """
    if SINGLE in files:
        names = [SINGLE]
    elif weight_index is not None:
        named = sorted(set(weight_index.shards.values()))
        names = [n for n in named if n in files and escape(n) is None and not n.endswith(PICKLES)]
    else:
        names = [n for n in files.like("*.safetensors") if "/" not in n and not n.startswith("adapter_")]
    return Shards(files, names)


def _shard(files: Files, name: str) -> Shard:
    try:
        return Shard(read_header(files, name))
    except Malformed as broken:
        return Shard({}, broken)


@fact
def tensors(files: Files, shards: Mapping[str, Shard], weight_index: WeightIndex | None = None) -> Tensors:
    """Every tensor of the checkpoint's safetensors files. Raises Malformed for a file that the format forbids."""
    found: dict[str, Tensor] = {}
    for shard in shards.values():
        if shard.broken:
            raise shard.broken
        found |= shard.tensors
    if found or shards:
        named = weight_index.shards if weight_index else {}
        return Tensors(found, {name: shard for name, shard in named.items() if name not in found})
    if weight_index is not None and weight_index.file == INDEX:
        raise Missing(f"{INDEX} names shards of which none is in the folder")
    files.refuse_unpassed(SINGLE)
    if pickle := next((n for n in files if n.endswith(PICKLES)), None):
        raise Missing(f"the weights are pickles ({pickle}), which are never opened", remedy="save them as safetensors")
    if packed := next(iter(files.like("*.gguf")), None):
        raise Missing("the weights are those of a GGUF, which is linted by itself", remedy=f"name the file {packed}")
    if "config.json" not in files:
        files.require(SINGLE, "there are no weights")
    raise Missing("there are no weights in the folder")


def read_header(files: Files, name: str) -> dict[str, Tensor]:
    """The header of one safetensors file, held to the format: no overlap, no hole, nothing after the last tensor."""
    size = files.size(name)
    files.refuse_pointer(name)
    if size < 8:
        raise Malformed(name, f"is {size} bytes, a safetensors file has at least 8" if size else "is empty")
    length = int.from_bytes(files.read(name, 0, 8), "little")
    if length > size - 8:
        raise Malformed(
            name, f"announces a header of {length} bytes but ends after {size}: truncated or not safetensors"
        )
    if length > HEADER_LIMIT:
        raise Malformed(name, f"has a header of {length / 1e6:.0f} MB, more than {HEADER_LIMIT / 1e6:.0f} MB")
    header = _parse(name, files.read(name, 8, 8 + length))
    header.pop("__metadata__", None)
    tensors = [_tensor(name, key, entry, 8 + length) for key, entry in header.items()]
    _contiguous(name, tensors, 8 + length, size)
    return {t.name: t for t in tensors}


def _parse(file: str, raw: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
            raise Malformed(file, f"names {shorten(twice)} twice in its header")
        return result

    try:
        text = raw.decode("utf-8")
        refuse_crowded(file, text, HEADER_ELEMENTS)
        header = json.loads(text, object_pairs_hook=unique)
    except RecursionError as error:
        raise Malformed(file, "has a header nested too deeply to be read") from error
    except ValueError as error:
        raise Malformed(file, f"has a header that is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise Malformed(file, f"has a header that is a JSON {json_type(header)}, expected an object")
    return header


def _tensor(file: str, name: str, entry: Any, base: int) -> Tensor:
    try:
        dtype, shape, (start, stop) = entry["dtype"], entry["shape"], entry["data_offsets"]
        whole = (
            type(shape) is list
            and len(shape) <= 32
            and all(type(n) is int and 0 <= n < 1 << 64 for n in (*shape, start, stop))
        )
    except (TypeError, KeyError, ValueError) as error:
        raise Malformed(file, "a header entry lacks dtype, shape or data_offsets", at=name) from error
    if not whole:
        raise Malformed(
            file, f"shape {shorten(shape)} and offsets {[start, stop]} are not whole numbers below 2^64", at=name
        )
    if not isinstance(dtype, str) or dtype not in BITS:
        raise Malformed(file, f"dtype {shorten(dtype)} is none of the safetensors format", at=name)
    expected = -(-prod(shape) * BITS[dtype] // 8)
    if stop - start != expected:
        raise Malformed(
            file, f"{dtype} of shape {shorten(shape)} takes {expected} bytes, the offsets give {stop - start}", at=name
        )
    return Tensor(name, dtype, tuple(shape), file, base + start, base + stop, entry.get("ggml_type"))


def _contiguous(file: str, tensors: list[Tensor], base: int, size: int) -> None:
    end = base
    for tensor in sorted(tensors, key=lambda t: (t.start, t.stop)):
        if tensor.start != end:
            what = "overlaps the one before it" if tensor.start < end else "leaves a hole before it"
            raise Malformed(
                file, f"the tensor's bytes begin at {tensor.start}, expected {end}: it {what}", at=tensor.name
            )
        end = tensor.stop
    if end > size:
        raise Malformed(file, f"is truncated: its header describes {end} bytes, it has {size}")
    if end < size:
        raise Malformed(file, f"has {size - end} bytes after its last tensor, which the format forbids")
