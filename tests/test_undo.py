"""Undo takes back what was written, however it ended; never an edit of the user; and obeys no journal but ours."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from crash import (
    TEMPLATE,
    Tree,
    apply_plan,
    built,
    changed,
    checkpoint,
    contents,
    counted,
    killed_at,
    observed,
    plan,
    replaced,
    rows,
    shard,
    tree,
    undoes,
)  # fmt: skip
from power import Recorder, check_images

from modelcheck.change import FileChange, Kept
from modelcheck.errors import UsageError
from modelcheck.transaction import apply, forget, undo, unfinished
from modelcheck.transaction.files import SMALL
from modelcheck.transaction.manifest import LIMIT, _checksum

HOME = Path(".modelcheck")
JOURNAL = HOME / "journal-0001"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return checkpoint(tmp_path / "model")


def refused(folder: Path, says: str, undoing: Callable[[Path], object] = undo) -> str:
    """Undo refuses with these words, and nothing anywhere near is changed."""
    before = tree(folder.parent)
    with pytest.raises(UsageError, match=says) as error:
        undoing(folder)
    assert tree(folder.parent) == before
    return str(error.value)


def test_where_there_is_nothing_to_undo(folder: Path) -> None:
    assert counted(lambda: undo(folder)).names == []
    assert undo(folder) == []


def test_two_fixes_are_taken_back_one_after_the_other(folder: Path) -> None:
    original = tree(folder)
    apply_plan(folder)
    second = [
        replaced(folder / "config.json", 0, 1, b"{ "),
        rows(folder / shard(1), 3, 7),
        FileChange(TEMPLATE, None, changed(folder / TEMPLATE).seen),
    ]
    between = contents(folder)
    apply(folder, second)
    assert sorted(path.name for path in (folder / HOME).glob("journal-*")) == ["journal-0001", "journal-0002"]
    assert undo(folder) == ["config.json: restored", f"{shard(1)}: restored", f"{TEMPLATE}: restored"]
    assert contents(folder) == between
    undoes(folder, original)
    assert undo(folder) == []


def test_a_copy_of_the_folder_can_be_undone_as_well(folder: Path, tmp_path: Path) -> None:
    """Other inodes, other times: what files hold is what counts."""
    before = contents(folder)
    apply_plan(folder)
    shutil.copytree(folder, tmp_path / "copy", copy_function=shutil.copyfile)
    undo(tmp_path / "copy")
    assert contents(tmp_path / "copy") == before


def test_a_file_too_large_to_be_read_every_time(folder: Path, tmp_path: Path) -> None:
    """Known by inode, size and time of change; where these have changed, by its bytes."""
    place = folder / "large.safetensors"
    place.write_bytes(bytes(SMALL + 1))
    before, change = tree(folder), changed(place, b"longer", Kept(0, SMALL + 1))
    apply(folder, [change])
    new = place.read_bytes()
    shutil.copytree(folder, tmp_path / "copy", copy_function=shutil.copyfile)
    undo(tmp_path / "copy")
    assert (tmp_path / "copy" / place.name).read_bytes() == bytes(SMALL + 1)
    with place.open("r+b") as file:
        file.write(b"edited")
    refused(folder, "large.safetensors: has been edited since the fix")
    place.write_bytes(new)
    undoes(folder, before)


def test_forgetting_keeps_the_files(folder: Path) -> None:
    changes = plan(folder)
    expected = built(folder, changes)
    apply(folder, changes)
    apply(folder, [rows(folder / shard(2), 5)])
    expected[shard(2)] = (folder / shard(2)).read_bytes()
    forget(folder)
    assert undo(folder) == []
    assert contents(folder) == expected
    assert not (folder / HOME).exists()


def test_forgetting_a_fix_that_was_interrupted(folder: Path) -> None:
    killed_at(180, lambda: apply_plan(folder))
    between = contents(folder)
    forget(folder)
    assert contents(folder) == between
    assert not unfinished(folder)


def test_what_is_open_and_ignored(folder: Path) -> None:
    apply_plan(folder)
    assert (folder / HOME).stat().st_mode & 0o777 == 0o700
    assert (folder / HOME / ".gitignore").read_text() == "*\n"


# -- edited by the user -----------------------------------------------------------------------------------------------


def test_an_edited_text_is_refused_with_the_difference(folder: Path) -> None:
    apply_plan(folder)
    (folder / "config.json").write_text('{"mine": "\x1b[2J"}\n')
    message = refused(folder, "config.json: has been edited since the fix; undo would destroy that")
    assert '\n-{"mine": "\\x1b[2J"}\n' in message
    assert '\n+{"architectures": ["LlamaForCausalLM"],\n' in message
    assert f"move it aside and run modelcheck undo {folder} again; or keep all files as they are" in message
    assert message.endswith(f"modelcheck undo --forget {folder}")


def test_moved_aside_the_edited_file_is_in_nobodys_way(folder: Path) -> None:
    before = tree(folder)
    apply_plan(folder)
    for name in ("config.json", "generation_config.json"):
        (folder / name).write_text("mine")
        refused(folder, f"{name}: has been edited")
        (folder / name).unlink()
    undoes(folder, before)


EDITS: dict[str, Callable[[Path], object]] = {
    "a created file": lambda folder: (folder / "generation_config.json").write_text("{}"),
    "a removed file": lambda folder: (folder / "chat_template.json").write_text("{}"),
    "a longer shard": lambda folder: (folder / shard(2)).write_bytes((folder / shard(2)).read_bytes() + b"\0"),
    "a shard that is gone": lambda folder: (folder / shard(4)).unlink(),
    "a link": lambda folder: (folder / TEMPLATE).rename(folder / "x").with_name(TEMPLATE).symlink_to("x"),
    "a folder": lambda folder: (folder / TEMPLATE).rename(folder / "x").with_name(TEMPLATE).mkdir(),
    "a second name": lambda folder: os.link(folder / shard(1), folder.parent / "shared"),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
@pytest.mark.parametrize("interrupted", [False, True])
def test_what_the_user_has_edited_is_not_overwritten(
    folder: Path, edit: Callable[[Path], object], interrupted: bool
) -> None:
    if interrupted:
        end = counted(lambda: apply_plan(folder)).passed
        undo(folder)
        killed_at(end - 20, lambda: apply_plan(folder))
        (folder / HOME / "lock").unlink()
    else:
        apply_plan(folder)
    assert unfinished(folder) is interrupted
    edit(folder)
    refused(folder, "has been edited since the fix")


def test_a_mended_row_that_the_user_has_trained(folder: Path) -> None:
    apply_plan(folder)
    start, _ = next(rows(folder / shard(1), 4).lost())
    content = (folder / shard(1)).read_bytes()
    (folder / shard(1)).write_bytes(content[:start] + b"trained!" + content[start + 8 :])
    refused(folder, f"{shard(1)}: has been edited since the fix")


def test_another_row_that_the_user_has_trained_is_kept(folder: Path) -> None:
    before = contents(folder)[shard(1)]
    apply_plan(folder)
    place = folder / shard(1)
    at = place.stat().st_size - 8
    with place.open("r+b") as file:
        file.seek(at)
        file.write(b"trained!")
    undo(folder)
    assert place.read_bytes() == before[:at] + b"trained!"
    assert place.stat().st_mtime > 1_700_000_000


# -- power ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("undoing", [False, True])
def test_the_power_fails(folder: Path, tmp_path: Path, undoing: bool) -> None:
    """A sample; `make slow` tries them all."""
    old, new = contents(folder), built(folder, plan(folder))
    if undoing:
        apply_plan(folder)
    recorder = Recorder(folder)
    with observed(recorder):
        undo(folder) if undoing else apply_plan(folder)
    check_images(recorder, tmp_path / "image", old, new, every=61)


# -- journals that came with a download -------------------------------------------------------------------------------


def forged(number: int = 0, **changes: Any) -> Callable[[Path], None]:
    """A manifest in which a file has other values, under a checksum that holds."""

    def forge(journal: Path) -> None:
        document = json.loads((journal / "manifest.json").read_text())
        document["files"][number].update(changes)
        document["checksum"] = _checksum(document["files"])
        (journal / "manifest.json").write_text(json.dumps(document))

    return forge


def manifest(content: bytes) -> Callable[[Path], object]:
    return lambda journal: (journal / "manifest.json").write_bytes(content)


def instead(name: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Something else in the place of a part of the journal."""

    def put(journal: Path) -> None:
        path = journal / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        make(path)

    return put


def outside(path: Path) -> Path:
    """A place beside the checkpoint's folder."""
    return path.parents[len(path.parts) - path.parts.index("model") - 1] / "outside"


def to_outside_itself(path: Path) -> None:
    path.rename(outside(path))
    path.symlink_to(outside(path))


def to_outside(path: Path) -> None:
    path.symlink_to(outside(path))


DIGEST = "0" * 64
HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no JSON": (manifest(b"hello"), "manifest.json: is not JSON"),
    "deep JSON": (manifest(b"[" * 200_000), "manifest.json: is not JSON"),
    "a long number": (manifest(b'{"format": ' + b"9" * 5000 + b"}"), "manifest.json: is not JSON"),
    "a list": (manifest(b"[]"), "has other keys"),
    "another format": (manifest(b'{"format": 2, "files": [], "checksum": ""}'), "has format 2, expected 1"),
    "a wrong checksum": (manifest(b'{"format": 1, "files": [], "checksum": ""}'), "the checksum that it states"),
    "a flipped bit": (
        lambda journal: manifest((journal / "manifest.json").read_bytes().replace(b"config", b"confih", 1))(journal),
        "the checksum that it states",
    ),
    "gigabytes": (lambda journal: os.truncate(journal / "manifest.json", LIMIT + 1), f"expected at most {LIMIT}"),
    "a name outside": (forged(name="../outside"), "is called '../outside', which is no file of the folder"),
    "an absolute name": (forged(name="/etc/passwd"), "is no file of the folder"),
    "a name below": (forged(name=".modelcheck/lock"), "is no file of the folder"),
    "our own name": (forged(name=".modelcheck"), "is no file of the folder"),
    "a name twice": (forged(name=TEMPLATE), "names a file twice"),
    "no name": (forged(name=None), "is no file of the folder"),
    "a boolean size": (forged(old=[1, True, 1, DIGEST]), "has other numbers than whole ones"),
    "a negative size": (forged(old=[1, -1, 1, DIGEST]), "has other numbers than whole ones"),
    "a giant size": (forged(old=[1, 1 << 70, 1, DIGEST]), "has other numbers than whole ones"),
    "no digest": (forged(old=[1, 1, 1, "x"]), "has no digest"),
    "neither old nor new": (forged(old=None, new=None), "neither was nor will be"),
    "backward ranges": (forged(2, ranges=[[5, 2]]), "out of order or outside the file"),
    "ranges outside": (forged(2, ranges=[[0, 1 << 40]]), "out of order or outside the file"),
    "ranges of one": (forged(2, ranges=[[1]]), "no pairs"),
    "other old bytes": (
        lambda j: (j / "old/0").write_bytes(b"x" * (j / "old/0").stat().st_size),
        "old/0: does not hold",
    ),
    "other old rows": (
        lambda j: (j / "old/2").write_bytes(b"x" * (j / "old/2").stat().st_size),
        "old/2: does not hold",
    ),
    "shorter old rows": (lambda j: os.truncate(j / "old/2", 5), "old/2: does not hold what the manifest says"),
    "no old bytes": (lambda journal: (journal / "old/0").unlink(), "old/0: does not hold what the manifest says"),
    "a manifest that is a link": (
        instead("manifest.json", to_outside),
        "is not a regular file",
    ),
    "a manifest that is a pipe": (instead("manifest.json", os.mkfifo), "manifest.json: is not a regular file"),
    "old bytes that are a link": (instead("old/0", to_outside), "old/0: is not a regular file"),
    "old bytes that are a pipe": (instead("old/0", os.mkfifo), "old/0: is not a regular file"),
    "old bytes that are a folder": (instead("old/0", Path.mkdir), "old/0: is not a regular file"),
    "old that is a link": (instead("old", lambda p: p.symlink_to(outside(p).parent)), "old: is not a folder"),
    "new that is a file": (instead("new", Path.touch), "new: is not a folder"),
    "a commit mark that is a link": (instead("commit", to_outside), "is not a regular file"),
    "a stranger": (lambda journal: (journal / "x").touch(), "x: does not belong there"),
    "a stranger among the old": (lambda journal: (journal / "old/x").touch(), "old/x: does not belong there"),
    "a journal that is a link": (to_outside_itself, "journal-0001: is not a folder"),
    "everything is a link": (lambda journal: to_outside_itself(journal.parent), ".modelcheck: is not a folder"),
}


@pytest.mark.parametrize(("hostile", "says"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_journal_is_refused(folder: Path, hostile: Callable[[Path], object], says: str) -> None:
    if not says.startswith((".modelcheck", "journal")):
        (folder.parent / "outside").write_text("precious")
    apply_plan(folder)
    hostile(folder / JOURNAL)
    assert f"delete {folder / HOME}" in refused(folder, says)


@pytest.mark.parametrize("shape", [name for name in HOSTILE if "link" in name or "stranger" in name])
def test_a_hostile_journal_is_not_even_forgotten(folder: Path, shape: str) -> None:
    hostile, says = HOSTILE[shape]
    if "everything" not in shape and "journal" not in shape:
        (folder.parent / "outside").write_text("precious")
    apply_plan(folder)
    hostile(folder / JOURNAL)
    refused(folder, says, forget)


def test_old_rows_are_not_written_through_a_hard_link(folder: Path) -> None:
    """As an archive can bring it: a file that is also one outside, and a journal that would write into it."""
    apply_plan(folder)
    os.link(folder / shard(2), folder.parent / "outside")
    refused(folder, "has been edited since the fix")


def test_lint_is_not_led_astray(folder: Path, tmp_path: Path) -> None:
    """Whatever lies there, asking whether a fix was interrupted opens no file, even where that would hang."""
    (folder / JOURNAL).mkdir(parents=True)
    os.mkfifo(folder / JOURNAL / "manifest.json")
    before: Tree = tree(folder)
    assert unfinished(folder)
    assert tree(folder) == before
    (folder / HOME / "journal-0001" / "commit").symlink_to("/dev/zero")
    assert not unfinished(folder)
    shutil.rmtree(folder / HOME)
    (folder / HOME).symlink_to(tmp_path)
    with pytest.raises(UsageError, match="is not a folder"):
        unfinished(folder)


def test_a_folder_of_another_user(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be seen does not read as fine."""
    apply_plan(folder)

    def closed(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(UsageError, match="Permission denied; whether a fix was interrupted here cannot be told"):
        unfinished(folder)


def test_kept_pieces_may_change_places(folder: Path) -> None:
    before, text = tree(folder), (folder / TEMPLATE).read_bytes()
    apply(folder, [changed(folder / TEMPLATE, Kept(20, len(text)), Kept(0, 20))])
    assert (folder / TEMPLATE).read_bytes() == text[20:] + text[:20]
    undoes(folder, before)
