"""A pack of somebody else arrives through entry points exactly as ours do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from modelcheck.testing import write_overlay

RULE = '''
from modelcheck import Finding, Severity, check, fact

@fact
def model_type(config: object) -> str:
    return config.root["model_type"]

@check("ACM001", severity=Severity.WARNING)
def llama_again(model_type: str):
    """Another Llama."""
    if model_type == "llama":
        yield Finding("model_type is 'llama', expected anything else", "config.json", "/model_type")
'''
ENTRY_POINTS = "[modelcheck.checks]\nacme = acme.rules\n[modelcheck.facts]\nacme = acme.rules\n"
LINT = """
import sys, modelcheck
from modelcheck import packs
[report] = modelcheck.lint(sys.argv[1], select=["ACM"])
for f in report.findings: print(f.code, f.slug, f.severity, f.file, f.at)
assert "TOK001" in {c.code for c in packs.load().checks}
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder for the module search path with an installed distribution `acme` in it."""
    package, metadata = tmp_path / "site" / "acme", tmp_path / "site" / "acme-1.0.dist-info"
    package.mkdir(parents=True)
    metadata.mkdir()
    (package / "__init__.py").touch()
    (package / "rules.py").write_text(RULE)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    return package.parent


def lint(site: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(site), *filter(None, sys.path)])}
    command = [sys.executable, "-c", LINT, str(folder)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_its_rules_and_facts_run_among_ours(site: Path, tmp_path: Path) -> None:
    result = lint(site, write_overlay(tmp_path / "tiny", {}))
    assert (result.stdout, result.stderr) == ("ACM001 llama-again warning config.json /model_type\n", "")


def test_its_mistakes_are_refused_with_file_and_line(site: Path, tmp_path: Path) -> None:
    rules = site / "acme" / "rules.py"
    rules.write_text(RULE.replace("def llama_again(model_type", "def llama_again(model_tipe"))
    result = lint(site, write_overlay(tmp_path / "tiny", {}))
    assert f"{rules}:8: unknown fact 'model_tipe'; did you mean 'model_type'?" in result.stderr
