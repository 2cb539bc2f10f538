"""Every moment at which a process can be killed, every disk that a power failure can leave, and what rows cost."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from crash import (
    apply_plan,
    built,
    checkpoint,
    contents,
    counted,
    killed_at,
    observed,
    plan,
    tree,
    undoes,
)  # fmt: skip
from power import Recorder, check_images

from modelcheck.errors import UsageError
from modelcheck.transaction import disk, undo

pytestmark = pytest.mark.slow

Record = Callable[[str, object], None]
KINDS = {
    "pwrite64": "pwrite", "ftruncate": "truncate", "fdatasync": "fsync", "renameat": "rename", "renameat2": "rename",
    "linkat": "link", "unlinkat": "unlink", "mkdirat": "mkdir",
}  # fmt: skip
SEEN_BY_STRACE = ("write", "pwrite", "truncate", "fsync", "rename", "link", "unlink", "mkdir", "rmdir")


@pytest.fixture(params=["links", "copies"])
def folder(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint on a file system that has hard links, and on one that has none."""

    def no_link(path: Path, to: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    if request.param == "copies":
        monkeypatch.setattr(disk, "link", no_link)
    return checkpoint(tmp_path / "model")


def test_killed_at_every_moment(folder: Path, record_property: Record) -> None:
    before = tree(folder)
    applying = counted(lambda: apply_plan(folder))
    after = contents(folder)
    undoing = counted(lambda: undo(folder))
    for moment in range(applying.passed):
        killed_at(moment, lambda: apply_plan(folder))
        undoes(folder, before)
    for moment in range(undoing.passed):
        apply_plan(folder)
        assert contents(folder) == after
        killed_at(moment, lambda: undo(folder))
        undoes(folder, before)
    points, calls = applying.passed + undoing.passed, len(applying.names) + len(undoing.names)
    record_property("figure", f"SIGKILL at {points} moments of {calls} calls of fix and undo")


def test_killed_while_a_kill_is_mended(folder: Path, record_property: Record) -> None:
    before, points = tree(folder), 0
    for first in range(0, counted(lambda: apply_plan(folder)).passed - 3, 9):
        undo(folder)
        killed_at(first, lambda: apply_plan(folder))
        shutil.copytree(folder, spare := folder.parent / "spare", copy_function=keep, symlinks=True)
        last = counted(lambda: undo(folder)).passed if (folder / ".modelcheck").exists() else 0
        shutil.rmtree(spare)
        for second in range(0, last, 7):
            killed_at(first, lambda: apply_plan(folder))
            killed_at(second, lambda: undo(folder))
            undoes(folder, before)
            points += 1
    record_property("figure", f"SIGKILL in the undo of a killed fix: {points} pairs of moments")


def keep(source: str, target: str) -> None:
    shutil.copy2(source, target)


def test_the_power_fails_at_every_moment(folder: Path, tmp_path: Path, record_property: Record) -> None:
    old, new = contents(folder), built(folder, plan(folder))
    images = Counter[str]()
    for work in (lambda: apply_plan(folder), lambda: undo(folder)):
        recorder = Recorder(folder)
        with observed(recorder):
            work()
        allowed, distinct = check_images(recorder, tmp_path / "image", old, new)
        images.update(allowed=allowed, distinct=distinct)
    record_property("figure", f"power loss: {images['allowed']} disk images, {images['distinct']} distinct")


def test_the_power_fails_while_a_kill_is_mended(folder: Path, tmp_path: Path, record_property: Record) -> None:
    old, new = contents(folder), built(folder, plan(folder))
    images, moments = 0, counted(lambda: apply_plan(folder)).passed
    undo(folder)
    for moment in range(100, moments - 3, 5):
        killed_at(moment, lambda: apply_plan(folder))
        recorder = Recorder(folder)
        with observed(recorder):
            undo(folder)
        images += check_images(recorder, tmp_path / "image", old, new, every=5)[0]
    record_property("figure", f"power loss in the undo of a killed fix: {images} disk images")


@pytest.mark.parametrize("undoing", [False, True])
def test_the_record_would_tell_if_a_fsync_were_missing(tmp_path: Path, undoing: bool, record_property: Record) -> None:
    """The images are harsh enough: without one of the fsyncs, most often one of them is neither old nor new."""
    folder = checkpoint(tmp_path / "model")
    old, new = contents(folder), built(folder, plan(folder))
    told, number = 0, 0
    while True:
        if undoing:
            apply_plan(folder)
        recorder = Recorder(folder, left_out=number)
        with observed(recorder):
            undo(folder) if undoing else apply_plan(folder)
        if number == recorder.syncs:
            break
        undo(folder)
        try:
            check_images(recorder, tmp_path / "image", old, new, every=17)
        except (AssertionError, UsageError):
            told += 1
            shutil.rmtree(tmp_path / "image")
        number += 1
    assert told > number / 2
    record_property("figure", f"{'undo' if undoing else 'fix'}: {told} of {number} fsyncs proved necessary")


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
def test_the_system_sees_no_other_write(tmp_path: Path) -> None:
    """What the process asks of the system, by strace, is what the harness counts and kills at."""
    folder, trace = checkpoint(tmp_path / "model"), tmp_path / "trace"
    code = """if True:
        import json, sys
        from pathlib import Path
        from crash import *
        folder, names = Path(sys.argv[1]), []
        def observer(name, call, arguments):
            result = call(*arguments)
            if name != "write" or arguments[1]:
                names.append(name.removesuffix("_dir"))
            return result
        with observed(observer):
            apply_plan(folder)
            undo(folder)
        print(json.dumps(names))
    """
    command = ["strace", "-f", "-y", "-o", str(trace), "-e", "trace=desc,file", sys.executable, "-c", code, str(folder)]
    paths = os.pathsep.join([*sys.path, str(Path(__file__).parent.parent)])
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=True)
    hooked = Counter(name for name in json.loads(done.stdout) if name in SEEN_BY_STRACE)
    calls = [line for line in trace.read_text().splitlines() if str(folder) in line and not re.search(r"= -1 E", line)]
    names = [match[1] for line in calls if (match := re.match(r"\d+ +(\w+)\(", line))]
    system = Counter(KINDS.get(name, name) for name in names)
    assert {name: system[name] for name in SEEN_BY_STRACE} == {name: hooked[name] for name in SEEN_BY_STRACE}
    others = set(system) - set(SEEN_BY_STRACE)
    assert not others & {"writev", "pwritev", "sendfile", "copy_file_range", "mmap", "truncate64", "symlink", "mknod"}
