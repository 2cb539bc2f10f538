"""Numbers of job files: what no step could use is refused with its line, before anything is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from job_files import SMALL, errors, read


@pytest.mark.parametrize(("text", "seconds"), [("45s", 45), ("1.5h", 5400), ("0.5 d", 43200)])
def test_times(tmp_path: Path, text: str, seconds: float) -> None:
    assert read(tmp_path, SMALL.replace("90m", text))["tiny"].timeout == seconds


NO_NUMBERS = {
    "an infinite share": ("data.replay.ratio", "inf", "is inf, expected a finite number above 0"),
    "endless training": ("train.epochs", "inf", "is inf, expected a finite number above 0"),
    "an infinite rate": ("train.lr", "inf", "is inf, expected a finite number above 0"),
    "no number at all": ("train.lr", "nan", "is nan, expected a finite number above 0"),
    "more than a float holds": ("train.lr", f"1{'0' * 400}", "expected a finite number above 0"),
    "an interval turned round": ("gate.length_ratio", "[2.0, 0.5]", "is [2.0, 0.5], expected a list of 2: a finite"),
}


@pytest.mark.parametrize(("key", "value", "expected"), NO_NUMBERS.values(), ids=NO_NUMBERS)
def test_a_number_that_no_step_can_use_is_refused(tmp_path: Path, key: str, value: str, expected: str) -> None:
    table, _, name = key.rpartition(".")
    said = errors(tmp_path, f"{SMALL}\n[job.tiny.{table}]\n{name} = {value}\n")
    assert [error for error in said if f": job.tiny.{key}: " in error and expected in error], said


@pytest.mark.parametrize(
    ("role", "key", "refused"),
    [("guard", "margin", (0, 1)), ("target", "min_gain", (1,)), ("floor", "min", (0, 1)), ("floor", "max", (0, 1))],
)
def test_a_bound_that_no_verdict_takes_is_refused_before_anything_is_asked(
    tmp_path: Path, role: str, key: str, refused: tuple[int, ...]
) -> None:
    """What everything reaches, or nothing, is no demand; only a gain of 0 is one: better, surely."""
    text = SMALL.replace('"guard"\nmargin = 0.05', f'"{role}"\n{key} = 0.5')
    for bound in (0, 1):
        changed = text.replace("= 0.5", f"= {bound}")
        if bound in refused:
            [error] = errors(tmp_path, changed)
            assert error.startswith(f"14: job.tiny.suite[1].{key}: is {bound}, expected a number ")
            assert error.endswith(" and below 1")
        else:
            assert read(tmp_path, changed)
