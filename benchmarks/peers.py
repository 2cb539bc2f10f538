"""The peers' own environment below .cache/: what they need is no dependency of modelcheck, nor of its tests."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

from measure import ROOT

PLACE = ROOT / ".cache" / "peers"
# torch and transformers come in the versions of constraints.txt, which for torch is the CPU build.
PACKAGES = ("chatlint==0.1.2", "numpy", "safetensors", "torch", "transformers")


@cache
def peer(*arguments: str) -> tuple[str, ...]:
    """The command of an interpreter that has the peers, built on first use."""
    done = PLACE / "complete"
    if not done.exists():
        print(f"building {PLACE} ...", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(PLACE)], check=True)
        install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        command = [str(_python()), *install, "--constraint", str(ROOT / "constraints.txt"), *PACKAGES]
        subprocess.run(command, check=True)
        done.touch()
    return (str(_python()), *arguments)


def _python() -> Path:
    return PLACE / "bin" / "python"
