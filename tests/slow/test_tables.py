"""The tables that ship are what their sources say today. Needs the package index for vLLM's wheels."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("script", ["vllm_registry.py", "transformers_tables.py"])
def test_a_table_made_anew_is_unchanged(script: str) -> None:
    command = [sys.executable, f"tools/{script}", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
