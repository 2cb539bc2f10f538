"""GGUFs that lie, are cut off, or were made to cost time or memory: one line each, and soon."""

from __future__ import annotations

import random
import resource
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from gguf_files import KEYS, write
from support import run
from test_fuzz import scrambled

import modelcheck
from modelcheck import UsageError
from modelcheck.engine import Options, lint_source
from modelcheck.render.renderer import Renderer
from modelcheck.sources.gguf import GgufFile

SAMPLE, GRID, SECONDS = 120, 10_000, 5.0
HUGE = 1 << 62


def text(content: str) -> bytes:
    return struct.pack("<Q", len(content)) + content.encode()


def head(tensors: int = 0, keys: int = 0, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, keys)


def array(kind: int, count: int, key: str = "tokenizer.ggml.tokens") -> bytes:
    return head(keys=1) + text(key) + struct.pack("<IIQ", 9, kind, count)


def tensor(shape: tuple[int, ...], kind: int = 0, offset: int = 0, name: str = "token_embd.weight") -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


REFUSED = {
    "nothing": (b"", "does not begin with GGUF"),
    "another format": (b"PK\x03\x04" * 10, "does not begin with GGUF"),
    "version 1": (head(version=1), "has version 1 of the format"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "is a big-endian GGUF"),
    "absurd counts": (head(HUGE, HUGE), "more than any model has"),
    "keys that are not there": (head(keys=9), "is cut off or damaged"),
    "a key longer than the file": (head(keys=1) + struct.pack("<Q", HUGE), "is cut off or damaged"),
    "a key that is no text": (head(keys=1) + struct.pack("<Q", 2) + b"\xff\xfe", "is not UTF-8"),
    "a key twice": (head(keys=2) + 2 * (text("a") + struct.pack("<II", 4, 1)), "has the key 'a' twice"),
    "a type that is none": (head(keys=1) + text("a") + struct.pack("<I", 99), "the type 99"),
    "an array of arrays": (array(9, 1), "holds arrays of type 9"),
    "an array longer than the file": (array(4, 1_000_000), "is cut off or damaged"),
    "an array of absurd length": (array(8, HUGE), "more than any model has"),
    "a string longer than the file": (array(8, 2) + struct.pack("<QQ", HUGE, 0), "is cut off or damaged"),
    "five dimensions": (head(1) + text("a") + struct.pack("<I", 5) + bytes(60), "gives 'a' 5 dimensions"),
    "a shape beyond all bounds": (head(1) + tensor((HUGE, HUGE)), "expected rows of whole blocks"),
    "half a block": (head(1) + tensor((33, 2), kind=8), "expected rows of whole blocks of 32"),
    "a tensor twice": (head(2) + 2 * tensor((4,)), "names the tensor 'token_embd.weight' twice"),
    "an odd alignment": (head(keys=1) + text("general.alignment") + struct.pack("<II", 4, 7), "a power of two"),
    "an adapter": (head(keys=1) + text("general.type") + struct.pack("<I", 8) + text("adapter"), "expected a model"),
}


@pytest.mark.parametrize(("content", "words"), REFUSED.values(), ids=REFUSED)
def test_is_refused_in_one_line_that_names_the_file(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "m.gguf").write_bytes(content)
    [report] = modelcheck.lint(tmp_path / "m.gguf")
    assert report.error is not None
    assert report.error.startswith(str(tmp_path / "m.gguf"))
    assert words in report.error
    assert "\n" not in report.error


def test_weights_that_are_cut_off_are_a_finding(tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf")
    path.write_bytes(path.read_bytes()[:-1000])
    [report] = modelcheck.lint(path)
    [finding] = report.findings
    assert (finding.slug, finding.file, report.internal) == ("malformed-file", "m.gguf", [])
    assert "cut off" in finding.message


def test_a_type_that_the_package_does_not_know_is_no_fault_of_the_model(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(head(1) + tensor((64, 320), kind=250) + bytes(4096))
    [report] = modelcheck.lint(tmp_path / "m.gguf")
    assert (report.findings, report.internal, report.error) == ([], [], None)
    assert "untrained-rows" in {s.slug for s in report.skipped}


def test_a_sparse_file_of_a_terabyte_costs_neither_time_nor_memory(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    # Zeros are empty strings, of which an array may announce as many as it likes.
    (tmp_path / "m.gguf").write_bytes(array(8, 4_000_000))
    with (tmp_path / "m.gguf").open("r+b") as file:
        file.truncate(1 << 40)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = run("lint", str(tmp_path / "m.gguf"))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds, peak = after.ru_utime - before.ru_utime, after.ru_maxrss / 1024  # of the largest child so far
    record_property("figure", f"a GGUF of 4 million empty tokens: {seconds:.1f} s of CPU, at most {peak:.0f} MB")
    assert "internal error" not in result.stdout
    assert seconds < 4 * SECONDS
    assert peak < 2048


def mutant(healthy: bytes, draw: random.Random) -> bytes:
    """One place of the head changed: two thirds keep every length, half hit the keys rather than the vocabulary."""
    start, stop = 0, healthy.index(b"token_embd.weight") + 800
    if draw.random() < 0.5:
        start = healthy.index(draw.choice([*KEYS]).encode())
        stop = start + 60
    part = bytearray(healthy[start:stop])
    if draw.random() < 0.33:
        part = bytearray(scrambled(bytes(part), draw))
    else:
        # Zeros are mostly the upper bytes of lengths, after which nothing can be read.
        places = [place for place, byte in enumerate(part) if byte] if draw.random() < 0.8 else range(len(part))
        for _ in range(draw.choice((1, 1, 2, 4))):
            part[draw.choice(places)] = draw.choice((draw.randrange(256), draw.randrange(32, 127)))
    return healthy[:start] + bytes(part) + healthy[stop:]


def fuzz(folder: Path, count: int) -> float:
    """Lint so many mutants of a small GGUF. The share that is read, not refused."""
    healthy = write(folder / "healthy.gguf").read_bytes()
    checks, given, path = Options().checks(), Options().given(), folder / "mutant.gguf"
    read = 0
    with Renderer() as renderer:
        for seed in range(count):
            path.write_bytes(mutant(healthy, random.Random(f"gguf {seed}")))
            started = time.perf_counter()
            try:
                report = lint_source("mutant", GgufFile(path), checks, {**given, "renderer": renderer}, pedantic=True)
            except UsageError:
                continue
            assert report.internal == [], seed
            assert time.perf_counter() - started < SECONDS, seed
            read += 1
    return read / count


def test_a_sample_of_mutants(tmp_path: Path) -> None:
    assert fuzz(tmp_path, SAMPLE) > 0.2


@pytest.mark.slow
def test_the_grid_of_mutants(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    share = fuzz(tmp_path, GRID)
    record_property("figure", f"GGUF head: {share:.0%} of {GRID} mutants get past the parser")
    assert share >= 0.2
