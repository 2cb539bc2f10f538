"""A plan is applied wholly or not at all: whoever kills it, whatever is full, whoever else is at work."""

from __future__ import annotations

import errno
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from crash import (
    PAST,
    TEMPLATE,
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
    removed,
    replaced,
    rows,
    shard,
    tree,
    undoes,
)  # fmt: skip
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelcheck.change import FileChange, Kept, Piece
from modelcheck.errors import UsageError
from modelcheck.transaction import apply, disk, needed_space, undo, unfinished
from modelcheck.transaction.lock import locked

NOBODY = 65534


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return checkpoint(tmp_path / "model")


def refused(folder: Path, changes: list[FileChange], says: str) -> None:
    """The changes are refused with these words, and nothing anywhere near is changed."""
    before = tree(folder.parent)
    with pytest.raises(UsageError, match=says):
        apply(folder, changes)
    assert tree(folder.parent) == before


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


# -- killed -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", range(0, 215, 7))
def test_killed_while_it_is_applied(folder: Path, moment: int) -> None:
    before = tree(folder)
    killed_at(moment, lambda: apply_plan(folder))
    undoes(folder, before)


@pytest.mark.parametrize("moment", range(0, 87, 7))
def test_killed_while_it_is_taken_back(folder: Path, moment: int) -> None:
    before = tree(folder)
    apply_plan(folder)
    killed_at(moment, lambda: undo(folder))
    undoes(folder, before)


def test_after_a_kill_nothing_else_is_written(folder: Path) -> None:
    changes = plan(folder)
    killed_at(170, lambda: apply_plan(folder))
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
        pytest.raises(UsageError, match="No space left .*; nothing was changed"),
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


def test_too_little_room_is_said_before_anything_is_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, needed = os.statvfs(folder), needed_space(folder, plan(folder))
    values = [*real]
    values[4] = (needed - 1) // real.f_frsize  # f_bavail
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result(values))
    assert (
        counted(lambda: refused(folder, plan(folder), "MB free, expected 0.1 MB: nothing was changed")).names[-1]
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


def test_a_read_only_file(folder: Path) -> None:
    (folder / TEMPLATE).chmod(0o444)
    refused(folder, plan(folder), r"chat_template.jinja: is read-only; allow writing \(chmod u\+w")


# -- somebody else ----------------------------------------------------------------------------------------------------

CHANGES_BY_OTHERS: dict[str, Callable[[Path], object]] = {
    "other bytes": lambda path: path.write_bytes(path.read_bytes().replace(b"date", b"DATE")),
    "other bytes at the same time": lambda path: (
        path.write_bytes(path.read_bytes().replace(b"date", b"DATE")),
        os.utime(path, ns=(PAST, PAST + 1_000_000_007)),
    ),
    "another file of the same bytes": lambda path: (path.rename(path.with_suffix(".x")), path.write_bytes(b"x")),
    "touched": lambda path: path.touch(),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("change", CHANGES_BY_OTHERS.values(), ids=CHANGES_BY_OTHERS)
def test_a_file_that_has_been_changed_since_the_lint(folder: Path, change: Callable[[Path], object]) -> None:
    changes = plan(folder)
    change(folder / TEMPLATE)
    refused(folder, changes, "chat_template.jinja: has been changed since it was linted")


def test_a_row_that_has_been_changed_since_the_lint(folder: Path) -> None:
    """Same size, same inode, and the clock of the file turned back: the bytes that would be lost tell it."""
    changes, place = [rows(folder / shard(1), 0)], folder / shard(1)
    [(start, _)], mtime = changes[0].lost(), place.stat().st_mtime_ns
    with place.open("r+b") as file:
        file.seek(start)
        file.write(b"trained!")
    os.utime(place, ns=(mtime, mtime))
    refused(folder, changes, "has been changed since it was linted")


def test_a_file_that_has_appeared_since_the_lint(folder: Path) -> None:
    changes = plan(folder)
    (folder / "generation_config.json").write_text("{}")
    refused(folder, changes, "generation_config.json: has been changed since it was linted")


def test_a_file_changed_while_new_shards_are_written(folder: Path) -> None:
    changes = plan(folder)

    def observer(name: str, call: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        if name == "create" and arguments[0].name == "8":  # the last file is being prepared
            (folder / TEMPLATE).write_text("mine")
        return call(*arguments)

    with observed(observer), pytest.raises(UsageError, match="has been changed since it was linted"):
        apply(folder, changes)
    assert (folder / TEMPLATE).read_text() == "mine"
    assert not (folder / ".modelcheck").exists()


def test_two_at_once(folder: Path) -> None:
    changes = plan(folder)
    with locked(folder):
        assert in_a_child(lambda: refused(folder, changes, "another modelcheck is at work in it")) == 0
    apply(folder, changes)


def test_many_at_once(folder: Path) -> None:
    """Three processes fix and undo for half a second. None of them fails but by being refused."""
    changes, before, until = plan(folder), tree(folder), time.monotonic() + 0.5

    def work() -> None:
        done = 0
        while time.monotonic() < until or not done:
            with suppress(UsageError):
                apply(folder, changes)
                done += 1
            with suppress(UsageError):
                undo(folder)

    children = [Thread(target=lambda: ends.append(in_a_child(work))) for _ in range(3)]
    ends: list[int] = []
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert ends == [0, 0, 0]
    undo(folder)
    assert tree(folder) == before


# -- links ------------------------------------------------------------------------------------------------------------


def test_a_hard_link(folder: Path) -> None:
    os.link(folder / shard(1), folder.parent / "shared")
    refused(folder, plan(folder), r"has 2 names \(hard links\), others may use it; .*modelcheck fix .* --output DIR")


def test_a_symbolic_link(folder: Path) -> None:
    (folder / TEMPLATE).rename(folder.parent / "elsewhere")
    (folder / TEMPLATE).symlink_to("../elsewhere")
    refused(folder, plan(folder), r"is a link to ../elsewhere, a file that others may use; .* --output DIR")


def hub_cache(folder: Path, root: Path) -> Path:
    """The snapshot of a folder in a cache as huggingface_hub lays it out."""
    repository = root / "models--org--name"
    snapshot = repository / "snapshots" / "0123456789abcdef"
    for place in (repository / "blobs", repository / "refs", snapshot):
        place.mkdir(parents=True)
    (repository / "refs" / "main").write_text(snapshot.name)
    for number, path in enumerate(sorted(folder.iterdir())):
        path.rename(repository / "blobs" / f"{number:040x}")
        (snapshot / path.name).symlink_to(f"../../blobs/{number:040x}")
    return snapshot


def test_the_hub_cache(folder: Path, tmp_path: Path) -> None:
    snapshot = hub_cache(folder, tmp_path / "hub")
    refused(snapshot, plan(snapshot), r"lies in the hub's cache, which other programs share; .* --output DIR")
    (tmp_path / "link").symlink_to(snapshot)
    refused(tmp_path / "link", plan(snapshot), "lies in the hub's cache")


def test_a_file_that_is_linked_into_the_hub_cache(folder: Path, tmp_path: Path) -> None:
    """As of `hf download --local-dir` of old: a folder of one's own, full of links to blobs."""
    snapshot = hub_cache(folder, tmp_path / "hub")
    for path in snapshot.iterdir():
        (folder / path.name).symlink_to(path.resolve())
    refused(folder, plan(folder), "is a link to .*blobs/.*, a file that others may use")


@pytest.mark.parametrize("name", ["../x", "a/b", "..", ".modelcheck", "", "a\0b", "a\\b"])
def test_a_name_that_is_none(folder: Path, name: str) -> None:
    refused(folder, [FileChange(name, (b"x",), None)], "is not the name of a file directly in this folder")


def test_a_file_changed_twice_by_one_plan(folder: Path) -> None:
    refused(folder, [removed(folder / TEMPLATE)] * 2, "is changed twice by one plan")


# -- a file system without links --------------------------------------------------------------------------------------


@pytest.fixture
def without_links(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def no_link(path: Path, to: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(disk, "link", no_link)
    return


@pytest.mark.usefixtures("without_links")
@pytest.mark.parametrize("moment", range(3, 215, 30))
def test_killed_where_there_are_no_hard_links(folder: Path, moment: int) -> None:
    before = tree(folder)
    killed_at(moment, lambda: apply_plan(folder))
    undoes(folder, before)
