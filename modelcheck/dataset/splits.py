"""What `--data FILE|DIR` names: training rows, and in a folder the evaluation rows beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from modelcheck.dataset.read import ENDINGS, SAVED_SPLITS, RawRows, open_file
from modelcheck.errors import UsageError

TRAIN, EVAL = "train", "eval"
# What a split is called, the first that is there.
NAMES = {TRAIN: ("train", "training"), EVAL: ("eval", "evaluation", "validation", "valid", "dev", "test")}


def open_data(data: str) -> Mapping[str, RawRows]:
    """{split: its rows}. A file is training rows. Raises UsageError for what cannot be read."""
    path = Path(data)
    if not path.is_dir():
        return {TRAIN: open_file(path)}
    if (path / SAVED_SPLITS).is_file():
        saved = saved_splits(path)
        if TRAIN not in saved:
            raise UsageError(f"{data}: has no split called {' or '.join(NAMES[TRAIN])}")
        return {split: open_file(path, split=name) for split, name in saved.items()}
    files = {
        split: file
        for split, names in NAMES.items()
        if (file := next((f for n in names for e in ENDINGS if (f := path / f"{n}{e}").is_file()), None))
    }
    if not files:  # a lone split that `datasets` saved, or nothing
        return {TRAIN: open_file(path)}
    if TRAIN not in files:
        raise UsageError(
            f"--data {data}: holds {files[EVAL].name} but no training rows, expected train.jsonl or the like"
        )
    return {split: open_file(file) for split, file in files.items()}


def saved_splits(path: Path) -> Mapping[str, str]:
    """{split: its name in a folder of several splits that `datasets` saved}; empty for anything else."""
    if not (path / SAVED_SPLITS).is_file():
        return {}
    return {
        split: found for split, names in NAMES.items() if (found := next((n for n in names if (path / n).is_dir()), ""))
    }
