"""Never-trained rows: what is planted is found, exactly, in matrices with the shapes and norms of published ones."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from modelcheck.facts.embeddings import Embeddings
from modelcheck.facts.files import Files
from modelcheck.facts.tensors import read_header
from modelcheck.facts.untrained import Untrained, untrained
from modelcheck.sources.local import LocalFolder
from modelcheck.tiny import stored

Rows = NDArray[np.float32]
STORED = {"F16": np.float16, "F32": np.float32, "F64": np.float64}
draw = np.random.default_rng(1)


def write(folder: Path, shape: tuple[int, int], pieces: Iterable[NDArray[Any]], dtype: str = "BF16") -> None:
    """Write a safetensors file of one embedding, piece by piece."""
    size = shape[0] * shape[1] * {"BF16": 2, "F16": 2, "F32": 4, "F64": 8}[dtype]
    entry = {"model.embed_tokens.weight": {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}}
    header = json.dumps(entry).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for piece in pieces:
            file.write(stored(piece, "BF16") if dtype == "BF16" else piece.astype(STORED[dtype]).tobytes())


def found_in(folder: Path) -> Untrained:
    """The untrained rows of the file in a folder."""
    files = Files(LocalFolder(folder))
    [tensor] = read_header(files, "model.safetensors").values()
    return untrained(Embeddings(files, tensor))


@pytest.fixture
def found(tmp_path: Path) -> Callable[..., Untrained]:
    """The untrained rows of a matrix."""

    def find(values: NDArray[Any], dtype: str = "BF16") -> Untrained:
        write(tmp_path, values.shape, [values], dtype)
        return found_in(tmp_path)

    return find


def rows(number: int, width: int, norm: float, spread: float = 0.1) -> Rows:
    """Random rows whose norms have a mean and a spread (a share of the mean)."""
    values = draw.standard_normal((number, width), np.float32)
    norms = np.maximum(draw.normal(norm, spread * norm, number), norm / 10).astype(np.float32)
    values *= (norms / np.linalg.norm(values, axis=1))[:, None]
    return values


def plant(values: Rows, norm: float, ids: Iterable[int]) -> None:
    """Give these rows a norm of their own."""
    chosen = list(ids)
    values[chosen] = rows(len(chosen), values.shape[1], norm, 0.02) if norm else 0


# -- What is planted is found --------------------------------------------------------------------------------------


def planted(folder: Path, count: int, width: int, noise: float, norm: float) -> dict[str, set[int]]:
    """Write a matrix with 64 zero, 96 identical, 48 tiny and 48 near-identical rows, in pieces."""
    order = draw.permutation(count)
    where = {"zero": order[:64], "identical": order[64:160], "tiny": order[160:208], "near": order[208:256]}
    same, near = rows(1, width, 1.0)[0], rows(1, width, norm)[0]

    def pieces() -> Iterable[Rows]:
        for start in range(0, count, 1024):
            piece = rows(min(1024, count - start), width, 1.0)
            local = {name: ids[(ids >= start) & (ids < start + 1024)] - start for name, ids in where.items()}
            piece[local["zero"]] = 0
            piece[local["identical"]] = same
            piece[local["tiny"]] *= 1e-18
            shape = (len(local["near"]), width)
            piece[local["near"]] = near + draw.normal(0, noise * norm / width**0.5, shape)
            yield piece

    write(folder, (count, width), pieces())
    return {name: set(ids.tolist()) for name, ids in where.items()}


@pytest.mark.parametrize("norm", [1.0, 0.05], ids=["usual-norm", "low-norm"])
@pytest.mark.parametrize("noise", [0.02, 0.1])
def test_planted_rows_are_found_and_none_else(tmp_path: Path, noise: float, norm: float) -> None:
    where = planted(tmp_path, 16384, 512, noise, norm)
    result = found_in(tmp_path)
    assert result.near_zero == where["zero"] | where["tiny"]
    assert result.identical == (frozenset(where["identical"]),)
    assert result.near_centroid == where["near"]


PROGRAM = """
import json, sys
from pathlib import Path
import numpy, modelcheck.facts
sys.path.insert(0, sys.argv[2])
from test_untrained import found_in

def peak():
    # Not ru_maxrss, which a process inherits from the one that started it.
    [line] = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    return int(line.split()[1])

before = peak()
found = found_in(Path(sys.argv[1]))
ids = {"near_zero": sorted(found.near_zero), "near_centroid": sorted(found.near_centroid)}
print(json.dumps([ids | {"identical": [sorted(group) for group in found.identical]}, peak() - before]))
"""


def found_by_a_process_of_its_own(folder: Path) -> tuple[dict[str, Any], int]:
    """The untrained rows, and the peak of memory in kB above a process that has only imported."""
    command = [sys.executable, "-c", PROGRAM, str(folder), str(Path(__file__).parent)]
    result, peak = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return result, peak


@pytest.mark.slow
def test_planted_rows_of_a_gigabyte_in_little_memory(tmp_path: Path) -> None:
    where = planted(tmp_path, 128256, 4096, 0.02, 1.0)
    result, kilobytes = found_by_a_process_of_its_own(tmp_path)
    assert set(result["near_zero"]) == where["zero"] | where["tiny"]
    assert result["identical"] == [sorted(where["identical"])]
    assert set(result["near_centroid"]) == where["near"]
    assert kilobytes < 64 << 10


# -- Twins of published matrices, at a reduced width ----------------------------------------------------------------


def test_llama_3_base_has_254_dead_special_tokens_and_some_words(found: Callable[..., Untrained]) -> None:
    values = rows(128256, 256, 0.593, 0.12)
    special = set(range(128000, 128256)) - {128000, 128001}
    words = {85071, 107658, 79883, 80369, 127896, 103003, 68896, 106710, 110043, 118508, 126523, 127117, 89472, 124292}
    words |= {80370, 122746, 64424, 125952, 85069, 100617}
    byte_tokens = {124, 125, *range(177, 188)}
    plant(values, 1.7e-21, special | words | byte_tokens)
    plant(values, 7.5e-4, [122549])  # the next smallest norm, of a living row
    result = found(values)
    assert result.near_zero == special | words | byte_tokens
    assert result.identical == ()
    assert result.near_centroid == set()


def test_qwen_2_5_has_five_zero_rows_and_padding(found: Callable[..., Untrained]) -> None:
    values = rows(152064, 256, 0.791, 0.2)
    ordinary, padding = {78783, 79269, 79270, 83969, 83971}, set(range(151665, 152064))
    plant(values, 0, ordinary | padding)
    plant(values, 6.1e-8, [142386])
    plant(values, 2.7e-6, [97000])
    assert found(values).near_zero == ordinary | padding | {142386, 97000}


def test_qwen_3_has_no_tiny_row(found: Callable[..., Untrained]) -> None:
    values = rows(151936, 256, 1.275, 0.2)
    plant(values, 0.0116, range(151669, 151936))  # its smallest norm, one per cent of the mean
    assert found(values).certain == set()


@pytest.mark.parametrize("dtype", ["BF16", "F32"])
def test_two_threads_see_what_one_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str) -> None:
    matrix = np.random.default_rng(0).normal(size=(20_001, 96)).astype(np.float32)
    write(tmp_path, matrix.shape, [matrix], dtype)
    files = Files(LocalFolder(tmp_path))
    [tensor] = read_header(files, "model.safetensors").values()
    alone = Embeddings(files, tensor).scan
    monkeypatch.setattr(sys.modules[Embeddings.__module__], "SHARED", 0)
    shared = Embeddings(files, tensor).scan
    for part in ("norms", "prints", "sketch"):
        assert np.array_equal(getattr(alone, part), getattr(shared, part)), part


def test_scale_does_not_matter(found: Callable[..., Untrained]) -> None:
    values = rows(201088, 256, 128.3, 0.11)
    plant(values, 10.0, range(200019, 201088))
    plant(values, 0.05, [7])
    assert found(values).near_zero == {7}


def test_unreachable_byte_rows_that_are_exactly_zero(found: Callable[..., Untrained]) -> None:
    values = rows(32000, 256, 0.176, 0.12)
    byte_tokens = {*range(4, 12), *range(14, 131)}
    plant(values, 0, byte_tokens)
    assert found(values).certain == byte_tokens


# -- Any type, any shape --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32", "F64"])
def test_every_float_type(found: Callable[..., Untrained], dtype: str) -> None:
    values = rows(512, 64, 1.0)
    values[[3, 9]] = 0
    values[[40, 50, 60]] = values[70]
    result = found(values, dtype)
    assert result.near_zero == {3, 9}
    assert result.identical == (frozenset({40, 50, 60, 70}),)


@pytest.mark.parametrize("shape", [(1, 1), (1, 64), (2, 64), (16, 8), (5, 3), (300, 1), (64, 7)])
def test_small_matrices_have_nothing_untrained(found: Callable[..., Untrained], shape: tuple[int, int]) -> None:
    result = found(rows(*shape, 1.0), "F32")
    assert result.certain == set()
    assert result.near_centroid == set()


@pytest.mark.parametrize("width", [1, 3, 7, 64])
def test_all_rows_equal_is_one_group(found: Callable[..., Untrained], width: int) -> None:
    assert found(np.ones((64, width), np.float32)).identical == (frozenset(range(64)),)


def test_a_million_rows_take_little_memory(tmp_path: Path) -> None:
    write(tmp_path, (1 << 20, 32), (rows(1 << 16, 32, 1.0) for _ in range(16)))
    _, kilobytes = found_by_a_process_of_its_own(tmp_path)
    assert kilobytes < 64 << 10


def test_all_rows_zero(found: Callable[..., Untrained]) -> None:
    assert found(np.zeros((64, 16), np.float32)).near_zero == set(range(64))


def test_constant_columns_are_no_cluster(found: Callable[..., Untrained]) -> None:
    values = rows(2048, 64, 1.0)
    values[:, :40] = 0.0
    values[:, 41] = 2.0
    assert found(values).near_centroid == set()


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf, 3e38])
def test_a_row_that_is_not_finite_is_left_to_others(found: Callable[..., Untrained], poison: float) -> None:
    values = rows(256, 64, 1.0)
    values[10:20, 5] = poison
    values[100] = 0
    result = found(values)
    assert result.certain == {100}
    assert not result.near_centroid & set(range(10, 20))


def test_nothing_but_nan(found: Callable[..., Untrained]) -> None:
    assert found(np.full((32, 16), np.nan, np.float32)).certain == set()


# -- Matrices made to cost time -------------------------------------------------------------------------------------


def hostile(kind: str) -> Rows:
    """A matrix of 65,536 rows in which every row is a suspect."""
    same = np.tile(rows(1, 256, 1.0), (65536, 1))
    if kind == "identical":
        return same
    if kind == "nearly-identical":
        return same + draw.normal(0, 0.001, same.shape).astype(np.float32)
    if kind == "equal-ends":  # equal where the prints look, different elsewhere
        return np.concatenate([same[:, :8], rows(65536, 120, 1.0), same[:, :8], rows(65536, 120, 1.0)], axis=1)
    return np.repeat(rows(16384, 256, 1.0), 4, axis=0) + draw.normal(0, 1e-4, same.shape).astype(np.float32)


@pytest.mark.parametrize("kind", ["identical", "nearly-identical", "equal-ends", "many-clusters"])
def test_hostile_matrices_stay_cheap(tmp_path: Path, kind: str) -> None:
    values = hostile(kind)
    write(tmp_path, values.shape, [values], "F32")
    del values
    before = resource.getrusage(resource.RUSAGE_SELF)
    found_in(tmp_path)
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert after.ru_utime - before.ru_utime < 5
