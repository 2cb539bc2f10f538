"""samples.jsonl: what is written is read, whatever the run was killed in."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelcheck import UsageError
from modelcheck.finetune.samples import Sample, append, item_id, present, read

ONE = Sample(item="a", answer="yes", score=1.0)
TWO = Sample(
    item="b",
    repeat=2,
    cluster="doc 1",
    slice="easy",
    critical=True,
    prompt="say é\u2028\n",
    prompt_ids=(1, 2, 3),
    answer="no \ud800",
    raw="<think>hm</think>no \ud800",
    stopped=False,
    tokens=64,
    score=1 / 3,
    reference=["yes", {"n": 1}],
    metadata={"seed": 1},
)


def test_what_is_appended_is_read(tmp_path: Path) -> None:
    path = tmp_path / "base" / "copy" / "samples.jsonl"
    append(path, [ONE])
    append(path, [TWO])
    assert read(path) == [ONE, TWO]
    assert present(path) == {("a", 0), ("b", 2)}
    assert present(tmp_path / "nothing.jsonl") == set()


def test_a_run_killed_at_any_byte_resumes(tmp_path: Path) -> None:
    whole = tmp_path / "whole.jsonl"
    append(whole, [ONE, TWO])
    content, first = whole.read_bytes(), len(whole.read_bytes().splitlines(keepends=True)[0])
    near_the_ends = {end + i for end in (0, first, len(content)) for i in range(-3, 4)}
    for length in sorted(n for n in {*range(0, len(content), 40), *near_the_ends} if 0 <= n <= len(content)):
        path = tmp_path / "killed.jsonl"
        path.write_bytes(content[:length])
        # A line without its newline is there once its closing brace is.
        expected = [ONE] * (length >= first - 1) + [TWO] * (length >= len(content) - 1)
        assert read(path) == expected
        append(path, [sample for sample in (ONE, TWO) if (sample.item, sample.repeat) not in present(path)])
        assert path.read_bytes() == content


def test_a_batch_is_on_the_disk_when_append_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, synced = tmp_path / "s.jsonl", []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append((os.fstat(file).st_ino, os.fstat(file).st_size)))
    append(path, [ONE])
    assert synced[0] == (path.stat().st_ino, path.stat().st_size)
    assert [inode for inode, _ in synced[1:]] == [tmp_path.stat().st_ino]  # the new name, too
    append(path, [TWO])
    assert synced[2:] == [(path.stat().st_ino, path.stat().st_size)]


def test_an_empty_batch_changes_nothing(tmp_path: Path) -> None:
    append(tmp_path / "s.jsonl", [ONE])
    before = (tmp_path / "s.jsonl").read_bytes()
    append(tmp_path / "s.jsonl", [])
    assert (tmp_path / "s.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[1]", "expected a sample, a JSON object, not a"),
        ('{"item": "a", "answer": "x"}', "lacks score"),
        ('{"item": "a", "answer": "x", "score": 1.5}', "score is 1.5, expected a number from 0 to 1"),
        ('{"item": "a", "answer": "x", "score": NaN}', "score is nan"),
        ('{"item": "a", "answer": "x", "score": true}', "score is True"),
        ('{"item": 1, "answer": "x", "score": 1}', "item is 1, expected text"),
        ('{"item": "a", "answer": "x", "score": 1, "repeat": -1}', "repeat is -1, expected a whole number"),
        ('{"item": "a", "answer": "x", "score": 1, "prompt_ids": ["1"]}', "expected a list of token ids"),
        ('{"item": "a", "answer": "x", "score": 1, "stopped": "yes"}', "expected true or false"),
        ('{"item": "z", "answer": "x", "score": 1}', "repeat 0 is already in line 1"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, problem: str) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_text(f'{{"item": "z", "answer": "", "score": 0}}\n{line}\n{{"item": "y", "answer": "", "score": 0}}\n')
    with pytest.raises(UsageError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert problem in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing\.jsonl: No such file"):
        read(tmp_path / "nothing.jsonl")


def test_what_others_add_to_a_line_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "s.jsonl").write_text('{"item": "a", "answer": "yes", "score": 1, "judge": "x"}')
    assert read(tmp_path / "s.jsonl") == [ONE]


class TestItemId:
    def test_is_the_same_for_the_same_content(self) -> None:
        a = item_id([{"role": "user", "content": "é"}], {"x": 1, "y": 2})
        assert a == item_id([{"content": "é", "role": "user"}], {"y": 2, "x": 1})
        assert len(a) == 64

    @given(st.text(), st.text(), st.text(), st.text())
    def test_tells_items_apart(self, prompt: str, reference: str, other: str, another: str) -> None:
        first, second = (
            item_id([{"role": "user", "content": p}], r) for p, r in ((prompt, reference), (other, another))
        )
        assert (first == second) == ((prompt, reference) == (other, another))


def test_a_line_holds_plain_ascii(tmp_path: Path) -> None:
    append(tmp_path / "s.jsonl", [TWO])
    [line] = (tmp_path / "s.jsonl").read_bytes().splitlines()
    assert json.loads(line.decode("ascii"))["prompt_ids"] == [1, 2, 3]
