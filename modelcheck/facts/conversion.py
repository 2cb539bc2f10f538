"""A tokenizer without tokenizer.json, converted by transformers in a process of its own.

Slow (seconds: it imports transformers) and only for checkpoints that have nothing else, such as a lone SentencePiece
model.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from modelcheck.names import CONVERTIBLE

if TYPE_CHECKING:
    from .files import Files

SECONDS, CHILD = 60, Path(__file__).with_name("convert_child.py")
BESIDE = ("merges.txt", "config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
REMEDY = (
    "pip install 'modelcheck[transformers]', or save the tokenizer once with transformers, which writes tokenizer.json"
)


def convert(files: Files) -> str:
    """The text of tokenizer.json that transformers makes of the files. Raises RuntimeError with its reason."""
    if find_spec("transformers") is None:
        raise RuntimeError("transformers, which can convert it, is not installed")
    with TemporaryDirectory(prefix="modelcheck-") as folder:
        for name in (*CONVERTIBLE, *BESIDE):
            if name in files:
                (Path(folder) / name).write_bytes(files.whole(name))
        command = [sys.executable, "-I", str(CHILD), folder]
        quiet = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "OMP_NUM_THREADS": "1"}
        try:
            done = subprocess.run(command, capture_output=True, env=quiet, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"transformers did not convert it within {SECONDS} seconds") from None
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise RuntimeError(f"transformers cannot convert it: {last}")
    return done.stdout.decode()
