"""What a pytest that runs jobs says on a terminal, and where there is none.

Every test starts from a copy of the folder of one finished run.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from planted import say, tiny_job
from whole_job import Finished, start, verdicts

from modelcheck.errors import UsageError
from modelcheck.finetune.job_file import read_jobs
from modelcheck.finetune.lock import ONE_RUN
from modelcheck.finetune.state import State
from modelcheck.plugins.session import Runs


@pytest.fixture
def folder(finished: Finished, tmp_path: Path) -> Path:
    """A copy of the finished job."""
    return Path(shutil.copytree(finished[0], tmp_path / "tiny", symlinks=True))


def test_what_carries_loss_is_green_where_a_terminal_shows_it(finished: Finished, folder: Path) -> None:
    shown = start(folder, "-k", "data", "--color=yes").stdout
    assert "tiny: what carries loss" in shown
    assert re.search(r"\x1b\[32m\x1b\[1m\w+<\|im_end\|>\x1b\[0m", shown)
    plain = finished[1].stdout
    assert "\x1b" not in plain
    assert "what carries loss" not in plain


def test_a_job_that_another_process_works_on_is_waited_for_and_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ONE_RUN, raising=False)  # of the xdist that may run this test
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-u", "-m", "pytest", "--finetune-eval", "-v", "-k", "data"]
    with ExitStack() as held:
        held.enter_context(State(folder / ".modelcheck" / "tiny").lock)
        with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as run:
            assert run.stdout
            told = next(line for line in run.stdout if "works since" in line)
            assert f"{folder / '.modelcheck' / 'tiny'}: process {os.getpid()} on " in told
            assert run.poll() is None
            held.close()
            assert "1 passed" in run.stdout.read()


def runs(root: Path) -> Runs:
    """The jobs of a pytest over a folder, before any was collected."""
    config: Any = SimpleNamespace(getoption=lambda _: False, rootpath=root)
    return Runs(config)


def test_two_files_of_one_folder_cannot_share_a_job(tmp_path: Path) -> None:
    folder = tiny_job(tmp_path / "tiny")
    shutil.copy(folder / "modelcheck.toml", folder / "twin.modelcheck.toml")
    first, second = (folder / name for name in ("modelcheck.toml", "twin.modelcheck.toml"))
    found = runs(tmp_path)
    found.of(read_jobs(first)["tiny"])
    with pytest.raises(UsageError) as raised:
        found.of(read_jobs(second)["tiny"])
    text = str(raised.value)
    assert text.startswith(f"{second}:")
    assert f"job.tiny is in {first}:" in text
    assert "both would keep their results in .modelcheck/tiny" in text


def test_a_name_that_two_jobs_have_names_neither(tmp_path: Path) -> None:
    first, second = (tiny_job(tmp_path / name, "tiny") / "modelcheck.toml" for name in ("a", "b"))
    with pytest.raises(UsageError) as raised:
        runs(tmp_path).named("tiny")
    assert str(raised.value).startswith(f"2 jobs are called 'tiny', in {first} and {second}, expected one: ")
    chosen = runs(tmp_path)
    chosen.of(read_jobs(second)["tiny"])  # named to pytest
    assert chosen.named("tiny").job.file == second
    chosen.of(read_jobs(first)["tiny"])
    with pytest.raises(UsageError, match="2 jobs are called 'tiny'"):
        chosen.named("tiny")


def test_a_job_is_found_beside_a_file_that_is_wrong(tmp_path: Path) -> None:
    job = tiny_job(tmp_path / "tiny") / "modelcheck.toml"
    (tmp_path / "modelcheck.toml").write_text("[job.other]\nbase = 3\n")
    assert runs(tmp_path).named("tiny").job.file == job
    with pytest.raises(UsageError, match=r"(?s)no job is called 'other'.*modelcheck.toml:2: job.other.base: is 3"):
        runs(tmp_path).named("other")


def test_a_run_without_a_job_says_where_jobs_stand(tmp_path: Path) -> None:
    (tmp_path / "test_own.py").write_text("def test_own(): pass\n")
    said = start(tmp_path).stdout
    assert "no job was found: jobs stand in modelcheck.toml or NAME.modelcheck.toml" in said
    assert "`modelcheck init-job BASE DATA`" in said


def test_a_suite_too_small_for_its_margin_says_so_once(folder: Path) -> None:
    say("\nmargin = ", "\nmargin = 0.00001  # not ")(folder)
    run = start(folder, "-v", "-rA", "-k", "base-add", "--tb=short")
    assert verdicts(run) == {"base-add": "FAILED"}
    assert len(re.findall(r"^(?!FAILED ).*\d+ items can show a drop", run.stdout, re.MULTILINE)) == 1, run.stdout


def test_what_the_interpreters_have_is_kept(finished: Finished) -> None:
    kept = json.loads((finished[0] / ".modelcheck" / "tiny" / "env.json").read_text())
    for stage in ("train", "eval"):
        packages = kept["machines"][stage]["packages"]
        assert packages["trl"] == kept["stages"][stage]["trl"]
        assert "pytest" in packages  # none that a stage needs
        assert isinstance(kept["machines"][stage]["gpus"], list)
