"""What the documentation shows is true: its settings, its JSON, its test to paste, its list of rules."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml
from click.testing import CliRunner

from modelcheck import packs, settings
from modelcheck.cli import cli
from modelcheck.manual import BLOCK
from modelcheck.output.json import render
from modelcheck.report import Skipped
from modelcheck.testing import lint_overlay, write_overlay

ROOT = Path(__file__).parent.parent
GUIDE = (ROOT / "docs" / "guide.md").read_text()


def test_the_pre_commit_hook_runs_as_the_guide_shows_it(tmp_path: Path) -> None:
    [hook] = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    [repository] = yaml.safe_load(
        textwrap.dedent(re.findall(r"(?:^    .*\n)+", GUIDE[GUIDE.index("pre-commit]") :], re.MULTILINE)[0])
    )
    [shown] = repository["hooks"]
    assert shown["id"] == hook["id"]
    program, *arguments = hook["entry"].split()
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts[program] == "modelcheck.cli:main"
    folder, *options = shown["args"]
    write_overlay(tmp_path / folder, {"tokenizer_config.json": '{"pad_token": "<|im_end|>"}'})
    result = CliRunner().invoke(cli, [*arguments, str(tmp_path / folder), *options])
    assert result.exit_code == 1
    assert "pad-is-eos" in result.stdout
    written = [path.name for path in (tmp_path / folder).iterdir()]
    assert all(re.search(hook["files"], name) for name in written)
    assert not re.search(hook["files"], "README.md")


def test_the_changelog_names_every_rule() -> None:
    named = re.findall(r"^- ([A-Z]{3}[0-9]{3}) `([a-z0-9-]+)`", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert {(check.code, check.slug) for check in packs.load().checks} - set(named) == set()
    assert len(named) == len({code for code, _ in named}) == len({slug for _, slug in named})


def test_the_guide_shows_every_setting(tmp_path: Path) -> None:
    shown = {file: text for _, file, text in BLOCK.findall(GUIDE)}["modelcheck.toml"]
    (tmp_path / "modelcheck.toml").write_text(shown)
    assert settings.find(tmp_path).target == ["vllm>=0.10"]
    keys = tomllib.loads(shown)
    assert sorted(keys) == sorted(f.name.replace("_", "-") for f in fields(settings.Settings))


def test_the_gate_compares_as_its_page_shows(tmp_path: Path) -> None:
    [program] = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "gate.md").read_text(), re.DOTALL)
    for name in ("base", "tuned"):
        lines = [json.dumps({"item": str(i), "answer": "", "score": 1}) for i in range(200)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert result.stdout.startswith("PASS suite score: stayed from 1.000 to 1.000 on 200 items"), result.stderr


def test_the_guide_shows_the_form_of_the_json() -> None:
    [report] = lint_overlay({"tokenizer_config.json": '{"pad_token": "<|im_end|>"}'}, select=["pad-is-eos"])
    report.skipped.append(Skipped("WGT001", "untrained-rows", "..."))
    match = re.search(r"```json\n(.*?)```", GUIDE, re.DOTALL)
    assert match
    assert form(json.loads(match[1])) == form(json.loads(render([report])))


def form(value: Any) -> Any:
    """A JSON value with its leaves replaced by the names of their types."""
    if isinstance(value, dict):
        return {key: form(item) for key, item in value.items()}
    return [form(item) for item in value] if isinstance(value, list) else type(value).__name__


def test_the_test_to_paste_passes(tmp_path: Path) -> None:
    [(margin, text)] = re.findall(
        r"^( *)```python tests/\S+\n(.*?)^ *```", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE | re.DOTALL
    )
    pasted = tmp_path / "test_pasted.py"
    pasted.write_text(re.sub(f"^{margin}", "", text, flags=re.MULTILINE))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(pasted)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "3 passed" in result.stdout, result.stdout
