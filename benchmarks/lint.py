"""`modelcheck lint` of a folder of Llama-3.1's size against loading its tokenizer with transformers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from checkpoints import llama
from measure import Row, python, show, side_by_side
from peers import peer

LOAD = "import sys; from transformers import AutoTokenizer; AutoTokenizer.from_pretrained(sys.argv[1])"
AGAINST = "AutoTokenizer.from_pretrained, import included"


def rows(tokenizer: Path | None) -> Iterator[Row]:
    """Rows 2 and 3 of the table."""
    with TemporaryDirectory() as name:
        folder = str(llama(Path(name) / "llama", tokenizer))
        lint, rules, load = side_by_side(
            python("-m", "modelcheck", "lint", "--weights", "none", folder),
            python("-m", "modelcheck", "lint", "--select", "CFG", folder),
            peer("-c", LOAD, folder),
        )
    yield Row.paired("lint of a Llama-3.1 folder without weights", lint, AGAINST, load, 0.3)
    yield Row.paired("lint --select CFG of the same", rules, AGAINST, load, 0.1)


if __name__ == "__main__":
    show(rows(Path(sys.argv[1]) if len(sys.argv) > 1 else None))
