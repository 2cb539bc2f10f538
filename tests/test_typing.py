"""Two type checkers accept the calls that a trainer's author writes, and refuse a typo in them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CHECKERS = {
    "mypy": [sys.executable, "-m", "mypy", "--strict"],
    "pyright": [
        str(Path(sys.executable).with_name("basedpyright")),
        "--pythonpath",
        sys.executable,
        "--level",
        "error",
    ],
}
HEAD = """\
import modelcheck
from modelcheck import Finding, Report
from modelcheck.checks.tokenizer import pad_is_eos

def trainer(t: object, m: object) -> None:
"""
RIGHT = """\
    pad_is_eos(tokenizer=t, model=m)
    pad_is_eos("path")
    findings: list[Finding] = pad_is_eos(processing_class=t, args=m)
    more: list[Finding] = pad_is_eos.on(tokenizer_config={"pad_token": "</s>"})
    report: Report = modelcheck.lint("one", "two", select=["TOK"], pedantic=True)
    errors: list[Finding] = modelcheck.lint(tokenizer=t, model=m).errors
    report.raise_for_errors()
    print(findings, more, errors)
"""
TYPOS = {
    "rule": "pad_is_eos(tokeniser=t)",
    "rule-path": "pad_is_eos(3)",
    "rule-result": "wrong: Finding = pad_is_eos(tokenizer=t)",
    "lint": "modelcheck.lint(tokeniser=t)",
    "lint-option": 'modelcheck.lint("path", selects=["TOK"])',
    "lint-type": 'modelcheck.lint("path", pedantic="yes")',
}


def errors_of(checker: str, folder: Path, files: dict[str, str]) -> dict[str, int]:
    """{file: line} of the errors, after one run of the checker over the files."""
    folder.mkdir()
    for name, body in files.items():
        (folder / f"{name.replace('-', '_')}.py").write_text(HEAD + body)
    # Run from the repository, whose links show the packs where the type checkers look for them.
    command = [*CHECKERS[checker], *map(str, sorted(folder.iterdir()))]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    lines = (line.strip().partition(".py:")[::2] for line in output.splitlines() if "error" in line and ".py:" in line)
    return {Path(file).name.replace("_", "-"): int(rest.split(":")[0]) for file, rest in lines}


@pytest.mark.parametrize("checker", CHECKERS)
def test_accepts_right_calls_and_refuses_typos(checker: str, tmp_path: Path) -> None:
    files = {"right": RIGHT} | {name: f"    {call}\n" for name, call in TYPOS.items()}
    line = HEAD.count("\n") + 1
    assert errors_of(checker, tmp_path / "calls", files) == dict.fromkeys(TYPOS, line)
