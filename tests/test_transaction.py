"""A plan is applied wholly or not at all: whoever kills it, whatever is full, whoever else is at work."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from crash import (
    WRITES,
    apply_plan,
    built,
    changed,
    checkpoint,
    contents,
    counted,
    in_a_child,
    killed_at,
    observed,
    plan,
    refused,
    replaced,
    shard,
    tree,
    undoes,
)  # fmt: skip
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelcheck.change import Kept, Piece
from modelcheck.errors import UsageError
from modelcheck.transaction import apply, disk, needed_space, undo, unfinished, writing

NOBODY = 65534


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return checkpoint(tmp_path / "model")


def test_a_plan_is_applied_wholly_and_taken_back_wholly(folder: Path) -> None:
    changes, before = plan(folder), tree(folder)
    expected = built(folder, changes)
    apply(folder, changes)
    assert contents(folder) == expected
    assert not unfinished(folder)
    after = tree(folder)
    assert after["tokenizer_config.json"] == before["tokenizer_config.json"]
    assert all(after[name][1] == mode for name, (_, mode, _, _) in before.items() if name in after)
    assert [line for line in undo(folder) if "config" in line] == [
        "config.json: restored",
        "generation_config.json: removed",
    ]
    assert tree(folder) == before


def test_only_the_shards_whose_rows_change_are_written_in_place(folder: Path) -> None:
    inodes = {path.name: path.stat().st_ino for path in folder.iterdir()}
    apply(folder, plan(folder))
    same = {
        name for name, inode in inodes.items() if (folder / name).exists() and (folder / name).stat().st_ino == inode
    }
    assert same == {shard(1), shard(2), shard(4), "tokenizer_config.json"}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_pieces_make_what_they_say(tmp_path: Path, data: st.DataObject) -> None:
    folder = tmp_path / "any"
    folder.mkdir(exist_ok=True)
    name = data.draw(st.sampled_from(["a.json", "a.safetensors"]))
    old = data.draw(st.binary(min_size=1, max_size=60))
    (folder / name).write_bytes(old)
    if data.draw(st.booleans()):  # in place
        cuts = sorted(data.draw(st.sets(st.integers(0, len(old)), min_size=1, max_size=6)))
        stretches = list(pairwise(cuts))
        pieces: list[Piece] = [
            Kept(*cut)
            if data.draw(st.booleans())
            else data.draw(st.binary(min_size=cut[1] - cut[0], max_size=cut[1] - cut[0]))
            for cut in stretches
        ]
        pieces = [old[: cuts[0]], *pieces]
    else:
        bounds = st.tuples(st.integers(0, len(old)), st.integers(0, len(old))).map(lambda b: Kept(min(b), max(b)))
        pieces = data.draw(st.lists(st.one_of(bounds, st.binary(max_size=9)), max_size=6))
    change = changed(folder / name, *pieces)
    before, expected = tree(folder), built(folder, [change])
    apply(folder, [change])
    assert contents(folder) == expected
    undoes(folder, before)
    (folder / name).unlink()


def test_an_empty_plan_writes_nothing(folder: Path) -> None:
    assert counted(lambda: apply(folder, [])).names == []


# -- killed -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", range(0, 215, 11))
def test_killed_while_it_is_applied(folder: Path, moment: int) -> None:
    before = tree(folder)
    killed_at(moment, lambda: apply_plan(folder))
    undoes(folder, before)


@pytest.mark.parametrize("moment", range(0, 87, 11))
def test_killed_while_it_is_taken_back(folder: Path, moment: int) -> None:
    before = tree(folder)
    apply_plan(folder)
    killed_at(moment, lambda: undo(folder))
    undoes(folder, before)


def test_after_a_kill_nothing_else_is_written(folder: Path) -> None:
    changes = plan(folder)
    killed_at(170, lambda: apply_plan(folder))
    (folder / ".modelcheck/lock").unlink()  # of the process that was killed
    assert unfinished(folder)
    refused(folder, changes, "an earlier fix was interrupted here; take it back first: modelcheck undo")


def test_asking_for_an_unfinished_fix_writes_nothing(folder: Path) -> None:
    killed_at(170, lambda: apply_plan(folder))
    before = tree(folder)
    assert counted(lambda: unfinished(folder)).names == []
    assert tree(folder) == before


def test_every_call_that_changes_the_disk_is_in_one_module(folder: Path) -> None:
    """What Python itself reports of opening, renaming and removing comes from there, and so would be killed."""
    places: set[str] = set()
    watched = {
        "os.rename",
        "os.link",
        "os.remove",
        "os.mkdir",
        "os.rmdir",
        "os.truncate",
        "os.chmod",
        "os.chown",
        "os.utime",
    }
    on = True

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        writes = (
            event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        )
        if on and (event in watched or writes):
            frame = sys._getframe(1)
            while frame.f_back and "pathlib" in frame.f_code.co_filename:
                frame = frame.f_back
            places.add(Path(frame.f_code.co_filename).name)

    changes = plan(folder)
    sys.addaudithook(hook)
    apply(folder, changes)
    undo(folder)
    on = False
    assert places == {"disk.py"}


# -- what fails -------------------------------------------------------------------------------------------------------


def failing(call_number: int, code: int) -> Callable[..., Any]:
    """An observer that lets one call fail, halfway where it writes."""
    calls = iter(range(1 << 20))

    def observer(name: str, call: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        if next(calls) == call_number:
            if name in WRITES:
                call(arguments[0], arguments[1][: len(arguments[1]) // 2], *arguments[2:])
            raise OSError(code, os.strerror(code))
        return call(*arguments)

    return observer


@pytest.mark.parametrize("number", range(4, 84, 5))
def test_a_call_that_fails_leaves_the_old_files_and_no_journal(folder: Path, number: int) -> None:
    changes, before = plan(folder), tree(folder)
    with (
        observed(failing(number, errno.ENOSPC)),
        pytest.raises(UsageError, match="No space left on device; nothing was changed"),
    ):
        apply(folder, changes)
    assert tree(folder) == before


def test_taking_back_fails_too(folder: Path) -> None:
    changes, before = plan(folder), tree(folder)

    def observer(name: str, call: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        if name in ("pwrite", "fsync_dir") and (folder / "generation_config.json").exists():
            raise OSError(errno.EIO, "Input/output error")
        return call(*arguments)

    with (
        observed(observer),
        pytest.raises(UsageError, match=r"half done: make room or access, then run modelcheck undo"),
    ):
        apply(folder, changes)
    assert unfinished(folder)
    undoes(folder, before)


def test_a_full_disk(folder: Path) -> None:
    """A process whose files may not grow beyond 1500 bytes: room for two rows, not for the shard that grows."""
    changes, before = plan(folder), tree(folder)

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))
        with pytest.raises(UsageError, match="File too large; nothing was changed"):
            apply(folder, changes)

    assert in_a_child(work) == 0
    assert tree(folder) == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("may not mount a small disk here")
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("left", range(0, 56, 8))
def test_a_small_disk(small_disk: Path, left: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full after so many kB, though it was said before that there is room."""
    monkeypatch.setattr(writing, "check_space", lambda *arguments: None)
    folder = checkpoint(small_disk / "model")
    changes, before = plan(folder), tree(folder)
    free = os.statvfs(folder)
    (small_disk / "filler").write_bytes(bytes(free.f_bavail * free.f_frsize - (left << 10)))
    if left < 40:
        with pytest.raises(UsageError, match="No space left on device"):
            apply(folder, changes)
    else:
        apply(folder, changes)
        undo(folder)
    assert tree(folder) == before


def test_too_little_room_is_said_before_anything_is_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, needed = os.statvfs(folder), needed_space(folder, plan(folder))
    values = [*real]
    values[4] = (needed - 1) // real.f_frsize  # f_bavail
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result(values))
    assert (
        counted(lambda: refused(folder, plan(folder), r"bytes free, expected [\d,]+: nothing was changed")).names[-1]
        == "rmdir"
    )


def test_no_permission(folder: Path) -> None:
    if os.geteuid():
        pytest.skip("needs root, to become somebody else")
    for path in (folder, *folder.parents[:-1]):
        path.chmod(0o755)

    def work() -> None:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        change = replaced(folder / "tokenizer_config.json", 0, 1, b"[")
        refused(folder, [change], "you may not write in this folder; write a mended copy instead: modelcheck fix")

    (folder / "tokenizer_config.json").chmod(0o644)
    for path in folder.iterdir():
        path.chmod(0o644)
    assert in_a_child(work) == 0


# -- a file system without links --------------------------------------------------------------------------------------


@pytest.fixture
def without_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_link(path: Path, to: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(disk, "link", no_link)


@pytest.mark.usefixtures("without_links")
@pytest.mark.parametrize("moment", range(3, 215, 40))
def test_killed_where_there_are_no_hard_links(folder: Path, moment: int) -> None:
    before = tree(folder)
    killed_at(moment, lambda: apply_plan(folder))
    undoes(folder, before)
