"""Benchmarks: `python benchmarks/run.py [FOLDER OF LLAMA-3.1'S TOKENIZER]`; needs transformers, npm or the folder."""

from __future__ import annotations

import sys
from itertools import chain
from pathlib import Path

import finetune
import lint
import scan
import start
from measure import show

if __name__ == "__main__":
    tokenizer = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    show(chain(start.rows(), lint.rows(tokenizer), scan.rows(), finetune.rows()))
