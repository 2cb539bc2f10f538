"""Bring packages that the test environment cannot hold into folders of .cache/, once: `python tools/overlays.py`.

Such a folder stands first on PYTHONPATH; whatever it lacks is the environment's own. transformers 4.57 and modelcheck
exclude each other by huggingface_hub, and of the many packages that lm-eval asks for, its tasks need these few.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from fetch import CACHE, once

OVERLAYS = {
    "transformers_4": ("transformers==4.57.6", "huggingface_hub==0.36.2", "tokenizers==0.22.2"),
    "lm_eval": (
        "lm_eval==0.4.13",
        "colorama==0.4.6",
        "lxml==6.1.3",
        "portalocker==4.4.2",
        "sacrebleu==2.6.0",
        "tabulate==0.10.0",
    ),
}


def installed(folder: Path, packages: Sequence[str]) -> None:
    """Put packages into a folder, without those that they ask for."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    subprocess.run([*pip, "--no-deps", "--no-compile", "--target", str(folder), *packages], check=True)


if __name__ == "__main__":
    for name, packages in OVERLAYS.items():
        once(CACHE / name, partial(installed, packages=packages))
