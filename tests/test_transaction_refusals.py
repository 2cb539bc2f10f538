"""What is never written: links and the hub's cache, what is protected, and what others have changed or are changing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from crash import (
    PAST,
    TEMPLATE,
    checkpoint,
    ended,
    in_a_child,
    observed,
    plan,
    refused,
    removed,
    rows,
    shard,
    started,
    tree,
)

from modelcheck.change import FileChange
from modelcheck.errors import UsageError
from modelcheck.transaction import apply, undo
from modelcheck.transaction.lock import locked


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return checkpoint(tmp_path / "model")


def test_a_read_only_file(folder: Path) -> None:
    (folder / TEMPLATE).chmod(0o444)
    refused(folder, plan(folder), r"chat_template.jinja: is read-only; allow writing \(chmod u\+w")


# -- somebody else ----------------------------------------------------------------------------------------------------


def edit_and_turn_back_the_clock(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"date", b"DATE"))
    os.utime(path, ns=(PAST, PAST + 1_000_000_007))


CHANGES_BY_OTHERS: dict[str, Callable[[Path], object]] = {
    "other bytes": lambda path: path.write_bytes(path.read_bytes().replace(b"date", b"DATE")),
    "other bytes at the same time": edit_and_turn_back_the_clock,
    "another file": lambda path: path.rename(path.with_suffix(".x")).with_name(path.name).write_bytes(b"x"),
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


def test_a_link_to_nowhere_where_a_file_is_to_be_created(folder: Path) -> None:
    changes = plan(folder)
    (folder / "generation_config.json").symlink_to("nowhere")
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

    children = [started(work) for _ in range(3)]
    assert [ended(child) for child in children] == [0, 0, 0]
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
    (snapshot / "sub").mkdir()
    refused(checkpoint(snapshot / "sub"), plan(snapshot / "sub"), "lies in the hub's cache")


def test_a_file_that_is_linked_into_the_hub_cache(folder: Path, tmp_path: Path) -> None:
    """As of `hf download --local-dir` of old: a folder of one's own, full of links to blobs."""
    snapshot = hub_cache(folder, tmp_path / "hub")
    for path in snapshot.iterdir():
        (folder / path.name).symlink_to(path.resolve())
    refused(folder, plan(folder), "is a link to .*blobs/.*, a file that others may use")


@pytest.mark.parametrize("name", ["../x", "a/b", "..", ".modelcheck", "", "a\0b", "a\\b"])
def test_a_name_that_is_none(folder: Path, name: str) -> None:
    refused(folder, [FileChange(name, (b"x",), None)], "is no file directly in this folder")


def test_a_file_changed_twice_by_one_plan(folder: Path) -> None:
    refused(folder, [removed(folder / TEMPLATE)] * 2, "is changed twice by one plan")
