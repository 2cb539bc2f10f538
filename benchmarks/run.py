"""Every row of the table: `python benchmarks/run.py [FOLDER OF LLAMA-3.1'S TOKENIZER] [--loaded]`.

Without the folder, the tokenizer is that of the slow tests, fetched once. Each file brings its rows by a function
`rows`. Peers (torch, transformers, chatlint) are installed into .cache/peers. How to read a row: measure.py. The exit
code is 1 where one says TOO MUCH. `--loaded` keeps every core but the first busy meanwhile; ratios should survive it.
Engines are compared with both cores each, so only on an idle machine: threads that wait for one on a busy core say
nothing of either.
"""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from itertools import chain
from pathlib import Path

import engines
import finetune
import fleet
import lint
import mend
import remote
import scan
import start
import templates
from measure import others_busy, show

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("tokenizer", type=Path, nargs="?")
    parser.add_argument("--loaded", action="store_true")
    options = parser.parse_args()
    tables = (start.rows(), lint.rows(options.tokenizer), scan.rows(), remote.rows(), templates.rows(), mend.rows())
    with others_busy() if options.loaded else nullcontext():
        show(chain(*tables, fleet.rows(), finetune.rows(), () if options.loaded else engines.rows()))
