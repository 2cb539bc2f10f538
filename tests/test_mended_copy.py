"""`--output`: a copy that stands alone, mended, whole or not there; what it was made of is not touched."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from crash import CALLS, WRITES, built, checkpoint, contents, observed, plan, shard, tree

from modelcheck.errors import UsageError
from modelcheck.transaction import disk, write_copy


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return checkpoint(tmp_path / "model")


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "copies" / "mended"


def refused(folder: Path, output: Path, says: str) -> None:
    """No copy is made, with these words; what there was is there, and nothing else."""
    before = tree(folder.parent)
    with pytest.raises(UsageError, match=says):
        write_copy(folder, output, plan(folder))
    assert tree(folder.parent) == before


def test_a_mended_copy(folder: Path, output: Path) -> None:
    (folder / "original").mkdir()
    (folder / "original" / "params.json").write_text("{}")
    for name in (".git", ".cache", ".modelcheck"):
        (folder / name).mkdir()
        (folder / name / "x").touch()
    before, changes = tree(folder), plan(folder)
    modes = {path.name: path.stat().st_mode for path in folder.iterdir() if path.is_file()}
    write_copy(folder, output, changes)
    assert tree(folder) == before
    assert (output / "original" / "params.json").read_text() == "{}"
    files = {path.name: path.read_bytes() for path in output.iterdir() if path.is_file()}
    assert not any((output / name).exists() for name in (".git", ".cache", ".modelcheck"))
    assert {name: (output / name).stat().st_mode for name in files if name in modes} == {
        name: mode for name, mode in modes.items() if name in files
    }
    assert all(path.stat().st_nlink == 1 for path in output.iterdir() if path.is_file())
    for name in (".git", ".cache", ".modelcheck", "original"):
        for inner in (folder / name).iterdir():
            inner.unlink()
        (folder / name).rmdir()
    assert files == built(folder, changes)


def test_an_empty_folder_is_filled(folder: Path, output: Path) -> None:
    output.mkdir(parents=True)
    expected = built(folder, plan(folder))
    write_copy(folder, output, plan(folder))
    assert contents(output) == expected
    assert [path.name for path in output.parent.iterdir()] == ["mended"]


def test_links_are_followed_and_left_alone(folder: Path, output: Path) -> None:
    """As in the hub's cache, whose files are links: the copy that fix offers instead of writing through them."""
    blobs = folder.parent / "blobs"
    folder.rename(blobs)
    folder.mkdir()
    for path in blobs.iterdir():
        (folder / path.name).symlink_to(path)
    os.link(blobs / shard(1), folder.parent / "second name")
    before, expected = tree(folder.parent), built(folder, plan(folder))
    write_copy(folder, output, plan(folder))
    assert contents(output) == expected
    assert not any(path.is_symlink() for path in output.iterdir())
    assert {name: node for name, node in tree(folder.parent).items() if not name.startswith("copies")} == before


def test_where_the_system_cannot_copy(folder: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot(*arguments: int) -> int:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(disk, "copy_range", cannot)
    expected = built(folder, plan(folder))
    write_copy(folder, output, plan(folder))
    assert contents(output) == expected


@pytest.mark.parametrize("full", [True, False])
def test_what_is_there_is_not_replaced(folder: Path, output: Path, full: bool) -> None:
    output.parent.mkdir()
    if full:
        (output / "x").mkdir(parents=True)
    else:
        output.touch()
    refused(folder, output, "exists; name a folder that does not exist or is empty")


def test_a_copy_inside_of_what_is_copied(folder: Path) -> None:
    refused(folder, folder / "mended", "lies in .*; name a folder outside of it")


STRANGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a pipe": (lambda folder: os.mkfifo(folder / "pipe"), "pipe: is not a regular file: no copy was made"),
    "a dangling link": (
        lambda folder: (folder / "link").symlink_to("nowhere"),
        "link: No such file .*: no copy was made",
    ),
    "a loop": (lambda folder: (folder / "loop").symlink_to("loop"), "loop"),
    "a folder in itself": (lambda folder: (folder / "up").symlink_to("."), "up: is a link to .*, the folder it is in"),
}


@pytest.mark.parametrize(("make", "says"), STRANGE.values(), ids=STRANGE)
def test_what_cannot_be_copied(folder: Path, output: Path, make: Callable[[Path], object], says: str) -> None:
    make(folder)
    before = [path.name for path in folder.parent.iterdir()]
    with pytest.raises(UsageError, match=says):
        write_copy(folder, output, [])
    assert not any(output.parent.iterdir())
    assert [path.name for path in folder.parent.iterdir() if path.name != "copies"] == before


def test_a_file_that_has_been_changed_since_the_lint(folder: Path, output: Path) -> None:
    changes = plan(folder)
    (folder / shard(1)).touch()
    with pytest.raises(UsageError, match="has been changed since it was linted"):
        write_copy(folder, output, changes)
    assert not any(output.parent.iterdir())


@pytest.mark.parametrize("number", range(0, 40, 3))
def test_a_call_that_fails_leaves_nothing(folder: Path, output: Path, number: int) -> None:
    """The disk is full, at every third call and in the middle of every write."""
    calls = iter(range(1 << 20))

    def observer(name: str, call: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        if next(calls) == number:
            if name in WRITES:
                call(arguments[0], arguments[1][:1])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return call(*arguments)

    assert "copy_range" in CALLS
    before = tree(folder)
    with observed(observer), pytest.raises(UsageError, match="No space left on device: no copy was made"):
        write_copy(folder, output, plan(folder))
    assert not any(output.parent.iterdir())
    assert tree(folder) == before
