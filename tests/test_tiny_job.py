"""The data of examples/tiny: what its script writes, and no question in two files."""

from __future__ import annotations

from pathlib import Path

from finetuning import TINY, conversations
from tiny_base import write_data

FILES = ("train", "replay", "eval", "guard-add", "guard-copy")


def test_the_data_is_what_the_script_writes(tmp_path: Path) -> None:
    write_data(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"{name}.jsonl" for name in FILES)
    for name in FILES:
        assert (tmp_path / f"{name}.jsonl").read_text() == (TINY / f"{name}.jsonl").read_text(), name


def test_no_question_stands_in_two_files() -> None:
    files = [{chat[0]["content"] for chat in conversations(name)} for name in FILES]
    assert len(set.union(*files)) == sum(map(len, files))
