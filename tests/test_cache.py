"""modelcheck's own cache: pieces of files, whole or absent, never in the way."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from click.testing import CliRunner
from support import run

from modelcheck import cache
from modelcheck.cache import Pieces
from modelcheck.cli import cli
from modelcheck.errors import UsageError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODELCHECK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def stored(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_any_pieces_give_any_range() -> None:
    content, draw = bytes(range(256)) * 4, random.Random(1)
    for _ in range(20):
        pieces = Pieces("a file", str(draw.random()))
        for _ in range(draw.randrange(12)):
            start = draw.randrange(1000)
            pieces.put(start, content[start : start + draw.randrange(1, 200)])
        for again in (pieces, Pieces("another")):
            start = draw.randrange(1000)
            stop = draw.randrange(start, 1025)
            holes = again.holes(start, stop)
            assert (again.get(start, stop) == content[start:stop]) is (not holes)
            for low, high in holes:
                assert start <= low < high <= stop
                again.put(low, content[low:high])
            assert again.get(start, stop) == content[start:stop]


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "gone", "longer"])
def test_a_damaged_piece_is_absent(folder: Path, damage: str) -> None:
    Pieces("file").put(0, b"content")
    [path] = stored(folder)
    raw = path.read_bytes()
    path.write_bytes({"cut": raw[:-1], "changed": b"C" + raw[1:], "longer": raw + b"x"}.get(damage, b""))
    if damage == "gone":
        path.unlink()
    pieces = Pieces("file")
    assert pieces.get(0, 7) is None
    assert pieces.holes(0, 7) == [(0, 7)]
    pieces.put(0, b"content")
    assert Pieces("file").get(0, 7) == b"content"


def test_keys_do_not_run_into_each_other() -> None:
    Pieces("a", "bc").put(0, b"1")
    assert Pieces("ab", "c").holes(0, 1) == [(0, 1)]


def test_what_cannot_be_written_is_held_for_the_run(folder: Path) -> None:
    folder.write_text("a file where the folder should be")
    pieces = Pieces("file")
    pieces.put(3, b"content")
    assert pieces.get(4, 6) == b"on"
    assert cache.size() == (0, 0)


def test_the_oldest_go_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for age, name in enumerate(("new", "old", "oldest")):
        Pieces(name).put(0, b"x" * 100)
        newest = max(stored(folder), key=lambda path: path.stat().st_mtime)
        os.utime(newest, (1e9 - age * 100, 1e9 - age * 100))
    monkeypatch.setattr(cache, "LIMIT", 250)
    cache.trim()
    assert Pieces("oldest").holes(0, 100) == [(0, 100)]
    assert Pieces("new").holes(0, 100) == []
    monkeypatch.setattr(cache, "LIMIT", 0)
    cache.trim()
    assert stored(folder) == []


def test_clearing_deletes_what_is_ours_and_nothing_else(folder: Path) -> None:
    Pieces("file").put(0, b"content")
    (folder / "pieces" / "notes.txt").write_text("mine")
    (stored(folder)[0].parent / ".new-abc").write_text("left by a run that was killed")
    result = run("cache")
    assert result.stdout == f"{folder}: 1 pieces, 23 bytes of at most 4.3 GB\n  23 bytes  file\n"
    assert run("cache", "--clear").stdout == f"{folder}: 0 pieces, 0 bytes of at most 4.3 GB\n"
    assert stored(folder) == [folder / "pieces" / "notes.txt"]


def test_of_one_repository_what_is_there_is_told_and_cleared(folder: Path) -> None:
    for name, size in (("org/small", 10), ("org/large", 300), ("gpt2", 20)):
        Pieces(name, "a file").put(0, b"x" * size)
    assert cache.repositories() == {"org/large": 316, "gpt2": 36, "org/small": 26}
    told = CliRunner().invoke(cli, ["cache", "org/small"]).stdout.splitlines()
    assert told == [f"{folder}: 3 pieces, 378 bytes of at most 4.3 GB", "  26 bytes  org/small"]
    left = CliRunner().invoke(cli, ["cache", "--clear", "org/large"]).stdout.splitlines()
    assert left == [f"{folder}: 2 pieces, 62 bytes of at most 4.3 GB", "  36 bytes  gpt2", "  26 bytes  org/small"]
    refused = CliRunner().invoke(cli, ["cache", "--clear", "org/smal"])
    assert isinstance(refused.exception, UsageError)
    assert f"org/smal: nothing of it is in {folder}; did you mean 'org/small'?" in str(refused.exception)
    assert len(cache.repositories()) == 2


def test_others_cannot_look_into_it(folder: Path) -> None:
    Pieces("file").put(0, b"content")
    assert stored(folder)[0].parent.stat().st_mode & 0o077 == 0
