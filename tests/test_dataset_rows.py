"""Rows of every form and file become the same conversations."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, DatasetDict

from modelcheck.dataset.example import BadRow, Example
from modelcheck.dataset.read import Layout, examples, of_object, open_file
from modelcheck.errors import UsageError

QUESTION, ANSWER = {"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Me."}
SYSTEM = {"role": "system", "content": "Be brief."}
CALL = {"type": "function", "function": {"name": "find", "arguments": {"key": 1}}}
TOOLS = [{"type": "function", "function": {"name": "find"}}]

COLUMNS = {"system": "system", "prompt": "q", "answer": "a"}

FORMS: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "OpenAI messages": ({"messages": [SYSTEM, QUESTION, ANSWER]}, [SYSTEM, QUESTION, ANSWER]),
    "messages with nulls": ({"messages": [{**QUESTION, "name": None}, ANSWER], "tools": None}, [QUESTION, ANSWER]),
    "messages as JSON in a text": ({"messages": json.dumps([QUESTION, ANSWER])}, [QUESTION, ANSWER]),
    "prompt and completion": ({"prompt": "Who?", "completion": "Me."}, [QUESTION, ANSWER]),
    "prompt and completion as messages": (
        {"prompt": [SYSTEM, QUESTION], "completion": [ANSWER]}, [SYSTEM, QUESTION, ANSWER],
    ),
    "a prompt alone": ({"prompt": "Who?"}, [QUESTION]),
    "a system prompt in a column": (
        {"system": "Be brief.", "question": "Who?", "answer": "Me."}, [SYSTEM, QUESTION, ANSWER],
    ),
    "Alpaca": ({"instruction": "Who?", "input": "", "output": "Me."}, [QUESTION, ANSWER]),
    "Alpaca with an input": (
        {"instruction": "Sum.", "input": "A text.", "output": "Me."},
        [{"role": "user", "content": "Sum.\n\nA text."}, ANSWER],
    ),
    "preferences": ({"prompt": "Who?", "chosen": "Me.", "rejected": "You."}, [QUESTION, ANSWER]),
    "preferences without a prompt": ({"chosen": [QUESTION, ANSWER], "rejected": [QUESTION]}, [QUESTION, ANSWER]),
    "ShareGPT": (
        {"system": "Be brief.", "conversations": [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "Me."}]},
        [SYSTEM, QUESTION, ANSWER],
    ),
    "messages under ShareGPT's name": ({"conversations": [QUESTION, ANSWER]}, [QUESTION, ANSWER]),
    "ShareGPT's tool calls": (
        {"conversations": [{"from": "function_call", "value": '{"name": "find", "arguments": {"key": 1}}'}]},
        [{"role": "assistant", "content": "", "tool_calls": [CALL]}],
    ),
    "tool calls with their arguments as JSON": (
        {"messages": [{"role": "assistant", "content": None, "tool_calls": [
            {"type": "function", "function": {"name": "find", "arguments": '{"key": 1}'}}]}]},
        [{"role": "assistant", "tool_calls": [CALL]}],
    ),
    "a role that nobody knows is kept": (
        {"messages": [{"role": "narrator", "content": "x"}]}, [{"role": "narrator", "content": "x"}],
    ),
}  # fmt: skip


def one(row: Any, **layout: Any) -> Example | BadRow:
    [found] = examples(of_object([row], "rows"), Layout(**layout))
    return found


@pytest.mark.parametrize(("row", "messages"), FORMS.values(), ids=FORMS)
def test_forms(row: dict[str, Any], messages: list[dict[str, Any]]) -> None:
    found = one(row)
    assert isinstance(found, Example), found
    assert list(found.messages) == messages
    assert found.reference == ("Me." if messages[-1] == ANSWER else None if found.answer is None else "")


def test_several_columns_are_merged_by_a_template() -> None:
    found = one(
        {"title": "A {title}", "body": "Who?", "n": 3, "gold": "Me."},
        columns={"prompt": "{title}\n{body} {{{n}}}", "answer": "gold"},
    )
    assert isinstance(found, Example)
    assert found.messages[0]["content"] == "A {title}\nWho? {3}"


def test_a_reference_beside_the_answer() -> None:
    found = one({"q": "Who?", "gold": ["42", "Forty-two"]}, columns={"prompt": "q", "reference": "gold"})
    assert isinstance(found, Example)
    assert (found.messages, found.reference, found.answer) == ((QUESTION,), ["42", "Forty-two"], None)


def test_a_cell_that_pandas_left_empty_is_no_text() -> None:
    for row, layout in (
        ({"instruction": "Who?", "input": math.nan, "output": "Me."}, {}),
        ({"system": math.nan, "q": "Who?", "a": "Me.", "doc": math.nan}, {"columns": COLUMNS, "cluster": "doc"}),
    ):
        found = one(row, **layout)
        assert isinstance(found, Example)
        assert (found.messages, found.cluster) == ((QUESTION, ANSWER), None)
    unknown = one({"q": "Who?", "gold": math.nan}, columns={"prompt": "q", "reference": "gold"})
    assert isinstance(unknown, Example)
    assert unknown.reference is None
    named = one({"q": "nan", "a": "Who is nan?"}, columns={"prompt": "q", "answer": "a"})
    assert isinstance(named, Example)
    assert named.messages[0]["content"] == "nan"


def test_tools_are_kept() -> None:
    for tools in (TOOLS, json.dumps(TOOLS)):
        found = one({"messages": [QUESTION, ANSWER], "tools": tools})
        assert isinstance(found, Example)
        assert found.tools == TOOLS


BAD = {
    "no form": ({"a": 1}, "has the columns 'a'; expected messages (OpenAI), conversations (ShareGPT)"),
    "no mapping": ([1], "is a list, expected a mapping"),
    "messages no list": ({"messages": 3}, "'messages' is a int, expected a list"),
    "a message without role": ({"messages": [{"content": "x"}]}, "a message has no 'role'"),
    "a content that is a number": ({"messages": [{"role": "user", "content": 3}]}, "the content of a message is a int"),
    "a turn without from": ({"conversations": [{"value": "x"}]}, "a turn of 'conversations' has no 'from'"),
    "a nested answer": ({"prompt": "x", "completion": {"a": 1}}, "column 'completion' is a dict, expected a text"),
}


@pytest.mark.parametrize(("row", "problem"), BAD.values(), ids=BAD)
def test_bad_rows(row: Any, problem: str) -> None:
    found = one(row)
    assert isinstance(found, BadRow)
    assert problem in str(found)


def test_a_row_of_another_form_than_the_first_is_bad() -> None:
    rows = [{"messages": [QUESTION]}, {"prompt": "Who?"}]
    first, second = examples(of_object(rows, "rows"), Layout())
    assert isinstance(first, Example)
    assert str(second) == "rows, row 2: has no column 'messages'; it has 'prompt'"


ROWS = [{"prompt": "Who?", "completion": "007"}, {"prompt": "And\nthen, what?", "completion": "NA"}]


def write(folder: Path, kind: str) -> Path:
    path = folder / f"rows.{kind}"
    if kind == "jsonl":
        path.write_text("\ufeff" + "\n".join(map(json.dumps, ROWS)), encoding="utf-8")
    elif kind == "json":
        path.write_text(json.dumps(ROWS, indent=2))
    elif kind in ("csv", "tsv"):
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["prompt", "completion"], delimiter="," if kind == "csv" else "\t")
            writer.writeheader()
            writer.writerows(ROWS)
    elif kind == "parquet":
        Dataset.from_list(ROWS).to_parquet(str(path))
    else:
        saved = Dataset.from_list(ROWS)
        (DatasetDict(train=saved) if kind == "splits" else saved).save_to_disk(str(path))
    return path


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "tsv", "parquet", "saved", "splits"])
def test_files(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path, kind)
    before = sorted(tmp_path.rglob("*"))
    rows = open_file(path)
    assert [dict(row) for _, row in rows if not isinstance(row, BadRow)] == ROWS
    ids = [e.id for e in examples(rows, Layout()) if isinstance(e, Example)]
    assert ids == [e.id for e in examples(of_object(ROWS, "rows"), Layout()) if isinstance(e, Example)]
    assert sorted(tmp_path.rglob("*")) == before


def test_the_id_depends_on_prompt_tools_and_reference_alone() -> None:
    def id_of(**row: Any) -> str:
        found = one({"messages": [QUESTION, ANSWER]} | row)
        assert isinstance(found, Example)
        return found.id

    plain = id_of()
    assert id_of(other=1) == plain
    assert id_of(messages=[{"content": "Who?", "role": "user"}, {**ANSWER, "name": None}]) == plain
    assert len({plain, id_of(tools=TOOLS), id_of(messages=[QUESTION, {**ANSWER, "content": "You."}])}) == 3


UNREADABLE = {
    "no such file": ("none.jsonl", None, "No such file"),
    "another ending": ("rows.xlsx", b"x", "rows are read from .jsonl, .ndjson, .json, .csv, .tsv, .parquet"),
    "no Parquet": ("rows.parquet", b"x" * 100, "ArrowInvalid"),
}


@pytest.mark.parametrize(("name", "content", "problem"), UNREADABLE.values(), ids=UNREADABLE)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, content: bytes | None, problem: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=problem):
        open_file(tmp_path / name)


def test_a_folder_that_datasets_did_not_save(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder that `datasets` saved"):
        open_file(tmp_path)


BAD_LINES = {
    "no UTF-8": (b'{"a": "\xff"}\n', "is not UTF-8: byte 7 is 0xff"),
    "no JSON": (b'{"a": 1,}\n', "is not JSON"),
    "nested without end": (b"[" * 100_000 + b"\n", "is JSON nested too deeply"),
    "no object": (b"[1]\n", "is not a JSON object, expected one a line"),
}


@pytest.mark.parametrize(("line", "problem"), BAD_LINES.values(), ids=BAD_LINES)
def test_bad_lines(tmp_path: Path, line: bytes, problem: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"prompt": "a"}\n\n' + line + b'{"prompt": "b"}\n')
    rows = [row for _, row in open_file(path)]
    assert [isinstance(row, BadRow) for row in rows] == [False, True, False]
    assert problem in str(rows[1])
    assert "row 3" in str(rows[1])


def test_csv_rows_with_other_fields_than_the_first_line(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("prompt,completion\na,b\na\na,b,c\n")
    assert [type(row).__name__ for _, row in open_file(tmp_path / "rows.csv")] == ["dict", "BadRow", "BadRow"]


def test_a_column_that_is_there_twice_is_a_fault_where_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("prompt,completion,note,note,,\na,b,c,d,,\n")  # a spreadsheet leaves empty columns at the end
    [found] = examples(open_file(path), Layout())
    assert isinstance(found, Example)
    assert found.reference == "b"
    [read] = examples(open_file(path), Layout(cluster="note"))
    assert str(read).endswith(
        "row 1: has 2 columns 'note', and which is meant is not said: rename all but one (cluster names it)"
    )
    path.write_text("prompt,completion,completion\na,b,c\na,b\n")
    told, short = map(str, examples(open_file(path), Layout()))
    assert "row 1: has 2 columns 'completion'" in told
    assert "row 2: has not the 3 fields of the first line" in short


def test_one_object_over_several_lines_is_one_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(ROWS[0], indent=2))
    assert [row for _, row in open_file(path)] == ROWS[:1]
    path.write_text(json.dumps({"data": ROWS}, indent=2))
    [problem] = examples(open_file(path), Layout())
    assert "row 1: has the columns 'data'; expected messages" in str(problem)
    path.write_text("\n".join(map(json.dumps, ROWS)))  # JSON lines under the other name
    assert [row for _, row in open_file(path)] == ROWS
