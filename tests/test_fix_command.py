"""`modelcheck fix` and `modelcheck undo` as a user types them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from support import contents, run

from modelcheck import tiny
from modelcheck.cli import cli
from modelcheck.testing import write_overlay

FAULTS = {"config.json": '{"use_cache": false, "sliding_window": 2047}', "generation_config.json": "null"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_overlay(tmp_path / "model", FAULTS)


def test_the_diff_is_shown_and_nothing_is_written(folder: Path) -> None:
    before = contents(folder)
    result = run("fix", str(folder))
    assert result.code == 1
    assert '-  "use_cache": false' in result.stdout
    assert '+  "use_cache": true' in result.stdout
    assert "nothing was written" in result.stdout
    assert contents(folder) == before


def test_what_is_unsafe_is_left_out_and_said(folder: Path) -> None:
    result = run("fix", str(folder))
    assert (
        "left out CFG003 sliding-window-off-by-one: unsafe, needs --unsafe: Widen the sliding window" in result.stdout
    )
    assert "1 left out as unsafe (--unsafe mends them)" in result.stdout
    assert '"sliding_window": 2048' in run("fix", str(folder), "--unsafe").stdout


def test_write_mends_lint_is_silent_and_undo_takes_it_back(folder: Path) -> None:
    before, times = contents(folder), {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    (folder / "config.json").chmod(0o640)
    assert run("fix", str(folder), "--unsafe", "--write").code == 0
    assert run("lint", str(folder)).code == 0
    assert "no findings" in run("lint", str(folder)).stdout
    changed = [name for name in before if contents(folder)[name] != before[name]]
    assert changed == ["config.json"]
    assert (folder / "config.json").stat().st_mode & 0o777 == 0o640
    assert {n: (folder / n).stat().st_mtime_ns for n in times if n != "config.json"} == {
        n: t for n, t in times.items() if n != "config.json"
    }
    again = run("fix", str(folder), "--unsafe", "--write")
    assert (again.code, "nothing to write" in again.stdout) == (0, True)
    assert run("undo", str(folder)).code == 0
    assert contents(folder) == before
    assert {p.name: p.stat().st_mtime_ns for p in folder.iterdir()} == times


def test_a_folder_may_be_reached_through_a_link(folder: Path, tmp_path: Path) -> None:
    before, link = contents(folder), tmp_path / "link"
    link.symlink_to(folder)
    assert run("fix", str(link), "--write").code == 0
    assert '"use_cache": true' in (folder / "config.json").read_text()
    result = run("undo", str(link))
    assert (result.code, f"{link}: as before the fix" in result.stdout) == (0, True)
    assert contents(folder) == before
    run("fix", str(link), "--write")
    assert run("undo", str(link), "--forget").code == 0
    assert not (folder / ".modelcheck").exists()


def test_undo_twice_says_that_there_is_nothing(folder: Path) -> None:
    run("fix", str(folder), "--write")
    run("undo", str(folder))
    result = run("undo", str(folder))
    assert result.code == 0
    assert "nothing to take back" in result.stdout


def test_two_fixes_are_taken_back_one_by_one(folder: Path) -> None:
    first = contents(folder)
    run("fix", str(folder), "--write")
    second = {name: content for name, content in contents(folder).items() if not name.startswith(".")}
    run("fix", str(folder), "--unsafe", "--write")
    run("undo", str(folder))
    assert {name: content for name, content in contents(folder).items() if not name.startswith(".")} == second
    run("undo", str(folder))
    assert contents(folder) == first


def test_forget_leaves_the_mended_folder_alone(folder: Path) -> None:
    run("fix", str(folder), "--write")
    assert run("undo", str(folder), "--forget").code == 0
    assert not (folder / ".modelcheck").exists()
    assert json.loads((folder / "config.json").read_text())["use_cache"] is True


def test_output_writes_a_mended_copy_and_leaves_the_original(folder: Path, tmp_path: Path) -> None:
    before = contents(folder)
    copy = tmp_path / "mended"
    result = run("fix", str(folder), "--output", str(copy))
    assert (result.code, f"the mended copy is in {copy}" in result.stdout) == (0, True)
    assert contents(folder) == before
    assert json.loads((copy / "config.json").read_text())["use_cache"] is True
    assert {n: c for n, c in contents(copy).items() if n != "config.json"} == {
        n: c for n, c in before.items() if n != "config.json"
    }


@pytest.mark.parametrize("step", ["transaction.disk.rename", "mending.proposal._written_faults"])
def test_ctrl_c_leaves_the_folder_as_it_was_and_says_so(
    step: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    before = contents(folder)
    for options in (["--write"], ["--output", str(tmp_path / "copy")]):
        monkeypatch.setattr(f"modelcheck.{step}", interrupted)
        result = CliRunner().invoke(cli, ["fix", str(folder), *options])
        assert (result.exit_code, f"interrupted: {folder} is as it was" in result.stderr) == (130, True)
        assert contents(folder) == before
        assert list(tmp_path.iterdir()) == [folder]


def test_an_empty_name_is_not_the_folder_one_stands_in(folder: Path) -> None:
    for arguments in (["fix", ""], ["undo", ""], ["lint", ""], ["fix", str(folder), "--output", ""]):
        result = run(*arguments)
        said = result.stdout + result.stderr
        assert (result.code, "empty" in said or "no such folder" in said) == (2, True), arguments


def test_renamed_layers_are_one_line_and_names_act_on_no_terminal(tmp_path: Path) -> None:
    names = [f"module.{name}" for name in tiny.tensors()] + ["module.model.\x1b[31m.weight"]
    values = [*tiny.tensors().values(), tiny.tensors()["model.norm.weight"]]
    folder = write_overlay(tmp_path / "model", {})
    (folder / "model.safetensors").write_bytes(tiny.safetensors(dict(zip(names, values, strict=True))))
    result = CliRunner().invoke(cli, ["fix", str(folder), "--unsafe"], color=True)
    assert "module.model.layers.*.mlp.up_proj.weight -> model.layers.*.mlp.up_proj.weight (2 tensors)" in result.stdout
    assert "module.model.norm.weight -> model.norm.weight\n" in result.stdout
    assert "module.model.\\x1b[31m.weight -> model.\\x1b[31m.weight" in result.stdout


def test_write_and_output_exclude_each_other(folder: Path, tmp_path: Path) -> None:
    result = run("fix", str(folder), "--write", "--output", str(tmp_path / "copy"))
    assert (result.code, "name one of them" in result.stderr) == (2, True)


def test_a_hard_link_is_refused_with_the_command_that_works(folder: Path, tmp_path: Path) -> None:
    os.link(folder / "config.json", tmp_path / "other-name.json")
    before = contents(folder)
    result = run("fix", str(folder), "--write")
    assert result.code == 2
    assert "--output" in result.stderr
    assert contents(folder) == before


def test_the_hubs_cache_is_never_written_through(folder: Path, tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "models--org--name"
    snapshot, blobs = repository / "snapshots" / "abc", repository / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, file in enumerate(sorted(folder.iterdir())):
        (blobs / str(number)).write_bytes(file.read_bytes())
        (snapshot / file.name).symlink_to(Path("..", "..", "blobs", str(number)))
    before = contents(blobs)
    result = run("fix", str(snapshot), "--write")
    assert result.code == 2
    assert "--output" in result.stderr
    assert contents(blobs) == before
    copy = tmp_path / "mended"
    assert run("fix", str(snapshot), "--output", str(copy)).code == 0
    assert json.loads((copy / "config.json").read_text())["use_cache"] is True
    assert not any(path.is_symlink() for path in copy.iterdir())
    assert contents(blobs) == before


def test_after_an_interruption_lint_says_how_to_recover_and_changes_nothing(folder: Path) -> None:
    first = contents(folder)
    run("fix", str(folder), "--write")
    [journal] = (folder / ".modelcheck").glob("journal-*")
    (journal / "commit").unlink()
    before = contents(folder)
    for command in ("lint", "fix", "render"):
        result = run(command, str(folder))
        assert result.code == 2
        assert f"run `modelcheck undo {folder}`" in result.stdout + result.stderr
    assert contents(folder) == before
    assert run("undo", str(folder)).code == 0
    assert contents(folder) == first


def test_a_folder_that_cannot_be_read_is_exit_2(tmp_path: Path) -> None:
    for command in ("fix", "undo"):
        result = run(command, str(tmp_path / "nowhere"))
        assert result.code == 2
        assert "no such folder" in result.stderr


def test_nothing_to_mend_is_exit_0(tmp_path: Path) -> None:
    folder = write_overlay(tmp_path / "healthy", {})
    result = run("fix", str(folder))
    assert (result.code, "nothing to mend" in result.stdout) == (0, True)
    assert run("fix", str(folder), "--write").code == 0
    assert not (folder / ".modelcheck").exists()


def test_what_is_left_out_is_not_called_nothing(folder: Path) -> None:
    result = run("fix", str(folder), "--select", "CFG003")
    assert (result.code, "nothing to mend without --unsafe" in result.stdout) == (0, True)


def test_select_names_what_is_mended(folder: Path) -> None:
    result = run("fix", str(folder), "--select", "CFG003", "--unsafe")
    assert "sliding_window" in result.stdout
    assert '+  "use_cache"' not in result.stdout
