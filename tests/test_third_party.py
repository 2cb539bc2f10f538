"""A pack of somebody else, the one that the guide shows, arrives through entry points exactly as ours do."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from modelcheck.manual import BLOCK
from modelcheck.testing import write_overlay

GUIDE = (Path(__file__).parent.parent / "docs" / "guide.md").read_text()
SHOWN = {file: text for _, file, text in BLOCK.findall(GUIDE)}
LINT = """
import sys, modelcheck
from modelcheck import packs
[report] = modelcheck.lint(sys.argv[1], select=["ACM"])
for f in report.findings: print(f.code, f.slug, f.severity, f.file, f.at)
assert "TOK001" in {c.code for c in packs.load().checks}
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder for the module search path with the guide's pack installed in it."""
    package, metadata = tmp_path / "site" / "acme_rules", tmp_path / "site" / "acme-1.0.dist-info"
    package.mkdir(parents=True)
    metadata.mkdir()
    (package / "__init__.py").write_text(SHOWN["acme_rules/__init__.py"])
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    groups = tomllib.loads(SHOWN["pyproject.toml"])["project"]["entry-points"]
    lines = (f"[{group}]\n{name} = {module}" for group, names in groups.items() for name, module in names.items())
    (metadata / "entry_points.txt").write_text("\n".join(lines))
    return package.parent


def lint(site: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(site), *filter(None, sys.path)])}
    command = [sys.executable, "-c", LINT, str(folder)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_its_rules_and_facts_run_among_ours(site: Path, tmp_path: Path) -> None:
    result = lint(site, write_overlay(tmp_path / "tiny", {}))
    assert (result.stdout, result.stderr) == ("ACM001 short-context warning config.json /max_position_embeddings\n", "")


def test_its_mistakes_are_refused_with_file_and_line(site: Path, tmp_path: Path) -> None:
    rules = site / "acme_rules" / "__init__.py"
    text = rules.read_text().replace("def short_context(context_length:", "def short_context(contxt_length:")
    rules.write_text(text)
    line = text[: text.index("@check(")].count("\n") + 1
    result = lint(site, write_overlay(tmp_path / "tiny", {}))
    assert f"{rules}:{line}: unknown fact 'contxt_length'; did you mean 'context_length'?" in result.stderr
