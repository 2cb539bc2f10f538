"""Many targets: from a file, in several processes, the same reports in the same order, whatever one of them does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from support import run

from modelcheck import UsageError, fleet
from modelcheck.engine import Options, lint_targets
from modelcheck.fleet_backends import processes
from modelcheck.report import TargetReport
from modelcheck.sources import Access
from modelcheck.sources.local import LocalFolder
from modelcheck.testing import write_overlay

BAD = {"tokenizer_config.json": '{"pad_token": "<|im_end|>"}'}


def checkpoints(folder: Path, count: int) -> list[str]:
    """Every third has a fault."""
    return [str(write_overlay(folder / f"c{i:03}", {} if i % 3 else BAD)) for i in range(count)]


def without_times(reports: list[TargetReport]) -> list[TargetReport]:
    for report in reports:
        report.seconds = 0.0
    return reports


def test_two_processes_give_the_same_reports_in_the_same_order(tmp_path: Path) -> None:
    targets = [*checkpoints(tmp_path, 6), str(tmp_path / "none")]
    alone, together = list(lint_targets(targets, Options())), list(fleet.lint_many(targets, Options(), 2))
    assert without_times(together) == without_times(alone)
    assert [r.target for r in together] == targets
    assert "no such folder" in str(together[-1].error)


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_a_target_that_kills_its_worker_is_reported_and_the_rest_goes_on(
    monkeypatch: pytest.MonkeyPatch, platform: str
) -> None:
    monkeypatch.setattr("modelcheck.fleet_backends.sys", SimpleNamespace(platform=platform))

    def work(target: str) -> TargetReport:
        if target == "killer":
            os.kill(os.getpid(), signal.SIGKILL)
        return TargetReport(target, "folder")

    targets = ["a", "killer", "b", "c", "d", "e"]
    reports = list(fleet.over(targets, work, 2, processes(lambda: None)))
    assert [r.target for r in reports] == targets
    assert [r.target for r in reports if r.internal] == ["killer"]
    assert reports[1].internal[0].startswith("internal error: the worker died: TerminatedWorkerError")


def test_a_crash_in_us_on_one_target_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = checkpoints(tmp_path, 2)

    def opened(target: str, access: Access) -> LocalFolder:
        if target == first:
            raise ZeroDivisionError
        return LocalFolder(target)

    monkeypatch.setattr("modelcheck.engine.open_source", opened)
    crashed, healthy = lint_targets([first, second], Options())
    assert crashed.internal[0].startswith("internal error: ZeroDivisionError")
    assert (healthy.internal, healthy.error) == ([], None)


def test_targets_come_from_the_command_line_a_file_and_standard_input(tmp_path: Path) -> None:
    bad, good, third = checkpoints(tmp_path, 3)
    listed = tmp_path / "targets.txt"
    listed.write_text(f"# what is served today\n\n  {good}  \n#{third}\n")
    result = run("lint", bad, "--targets-file", str(listed), "--jobs", "2")
    assert [line for line in result.stdout.splitlines() if line and line[0] != " "] == [bad, good]
    assert result.code == 1
    command = [sys.executable, "-m", "modelcheck", "lint", "--targets-file", "-"]
    piped = subprocess.run(command, input=good, capture_output=True, text=True, check=False)
    assert (piped.returncode, good in piped.stdout) == (0, True)


WRONG = {
    "no target": ((), "there is nothing to lint"),
    "no such file": (("--targets-file", "none.txt"), "--targets-file none.txt: No such file"),
    "dask without a scheduler": (("x", "--backend", "dask"), "--scheduler ADDRESS go together"),
    "a scheduler without dask": (("x", "--scheduler", "tcp://a:1"), "--scheduler ADDRESS go together"),
    "no jobs": (("x", "--jobs", "0"), "Invalid value for '--jobs'"),
}


@pytest.mark.parametrize(("arguments", "words"), WRONG.values(), ids=WRONG)
def test_a_call_that_means_nothing_is_exit_2(arguments: tuple[str, ...], words: str) -> None:
    result = run("lint", *arguments)
    assert (result.code, words in result.stderr) == (2, True)


@pytest.mark.parametrize(("package", "scheduler"), [("joblib", None), ("distributed", "tcp://127.0.0.1:1")])
def test_without_the_package_the_line_to_install_it_is_said(
    monkeypatch: pytest.MonkeyPatch, package: str, scheduler: str | None
) -> None:
    monkeypatch.setattr(fleet, "find_spec", lambda name: None if name == package else object())
    with pytest.raises(UsageError, match=r"pip install 'modelcheck\[fleet\]'"):
        list(fleet.lint_many(["a", "b"], Options(), 2, scheduler))


def alive(group: int) -> list[str]:
    """The processes of a group that still run."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            name, _, rest = status.read_text().rpartition(") ")
            state, _, own, *_ = rest.split()
            found += [name] if int(own) == group and state not in "ZX" else []
    return found


def test_ctrl_c_ends_it_at_once_and_silently(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    listed = tmp_path / "targets.txt"
    listed.write_text("\n".join(checkpoints(tmp_path, 3) * 200))
    command = [sys.executable, "-m", "modelcheck", "lint", "--targets-file", str(listed), "--jobs", "2"]
    # A group of its own, all of which gets the signal, as from a terminal.
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    assert process.stdout
    process.stdout.readline()
    started = time.perf_counter()
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    record_property("figure", f"Ctrl-C with --jobs 2: ended after {time.perf_counter() - started:.2f} s")
    assert (process.returncode, errors) == (130, b"")
    until = time.monotonic() + 5
    while alive(process.pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert alive(process.pid) == []


@pytest.mark.parametrize("address", ["tcp://", "localhost:notaport", "", " "])
def test_an_address_that_is_none_is_refused_at_once(address: str) -> None:
    result = run("lint", "x", "--backend", "dask", "--scheduler", address)
    assert (result.code, result.stderr.count("\n")) == (2, 1)
    assert "--scheduler" in result.stderr


def test_a_sign_in_a_name_is_no_comment(tmp_path: Path) -> None:
    healthy, faulty = tmp_path / "run", tmp_path / "run #3"
    write_overlay(healthy, {})
    write_overlay(faulty, BAD)
    listed = tmp_path / "targets.txt"
    listed.write_text(f"\ufeff{faulty}\r\n# {healthy}\r\n", encoding="utf-8")
    result = run("lint", "--targets-file", str(listed))
    assert (result.code, result.stdout.splitlines()[0]) == (1, str(faulty))
