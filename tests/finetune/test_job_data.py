"""The rows of a job: read from every form, split, mirrored and mixed, with every bad row named."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from finetuning import BASE

from modelcheck.errors import UsageError
from modelcheck.finetune.data import DataError, load, mirrored, read_rows
from modelcheck.finetune.job import Gate, Job, Scorer, Suite
from modelcheck.finetune.job_rows import Data, Mirror, Replay, Rows
from modelcheck.finetune.prompts import Prompts
from modelcheck.finetune.scorers import SCORERS


def jsonl(path: Path, rows: Sequence[Mapping[str, Any]]) -> Rows:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Rows(path)


def questions(path: Path, count: int, name: str = "q") -> Rows:
    return jsonl(path, [{"prompt": f"{name} {i}", "completion": f"answer {i}"} for i in range(count)])


def job(data: Data, *suites: Suite) -> Job:
    return Job("tiny", Path("modelcheck.toml"), 1, "base", data, suites)


def guard(data: str | Rows = "eval") -> Suite:
    return Suite("copy", "guard", data, Scorer("exact"), margin=0.05)


def target(name: str, data: str | Rows, *, primary: bool = False) -> Suite:
    return Suite(name, "target", data, Scorer("exact"), min_gain=0.1, primary=primary)


def test_the_mirror_asks_for_the_primary_skill(tmp_path: Path) -> None:
    train = Rows(tmp_path / "train.jsonl")
    own, of_tasks = target("own", Rows(tmp_path / "own.jsonl")), target("tasks", "lm_eval", primary=True)

    def asked(*suites: Suite, sample: int = 10) -> str | None:
        found = mirrored(job(Data(train, mirror=Mirror(sample) if sample else None), *suites))
        return found.name if found else None

    assert asked(guard(), own) == "copy"
    assert asked(guard(), own, target("new", "eval")) == "new"
    assert asked(guard(), target("new", "eval"), target("best", own.data, primary=True)) == "best"
    assert asked(of_tasks, own) == "own"
    assert asked(of_tasks, guard("mirror"), guard(own.data)) is None
    assert asked(guard(), sample=0) is None


def test_the_mirror_is_a_verbatim_part_of_training_which_the_seed_fixes(tmp_path: Path) -> None:
    train = questions(tmp_path / "train.jsonl", 50)
    drawn = [load(job(Data(train, mirror=Mirror(10, seed)), guard("mirror"))) for seed in (0, 0, 1)]
    assert drawn[0].mirror == drawn[1].mirror != drawn[2].mirror
    assert len(drawn[0].mirror) == 10
    assert {e.id for e in drawn[0].mirror} <= {e.id for e in drawn[0].train}
    assert drawn[0].suites["copy"] == drawn[0].mirror
    assert drawn[0].held_out == ()


def test_a_row_keeps_its_own_columns_for_scorers_and_arms(tmp_path: Path) -> None:
    train = jsonl(tmp_path / "train.jsonl", [{"prompt": "q", "completion": "a", "passage": "p", "words": 1}])
    [row] = load(job(Data(train))).own
    assert row.fields == {"prompt": "q", "completion": "a", "passage": "p", "words": 1}


def test_a_mirror_holds_no_row_twice_and_not_more_than_there_are(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "completion": "b"}] * 3 + [{"prompt": "c", "completion": "d"}]
    data = load(job(Data(jsonl(tmp_path / "train.jsonl", rows), mirror=Mirror(10))))
    assert [e.row for e in data.mirror] == [1, 4]


def test_replay_is_a_ratio_of_the_training_rows_mixed_in_by_the_seed(tmp_path: Path) -> None:
    train, general = questions(tmp_path / "train.jsonl", 20), questions(tmp_path / "general.jsonl", 100, "general")
    data = load(job(Data(train, replay=Replay(general, 0.5, 3))))
    again = load(job(Data(train, replay=Replay(general, 0.5, 3))))
    assert (len(data.train), data.replayed) == (30, 10)
    assert data.train == again.train
    assert [e.source for e in data.train] != sorted(e.source for e in data.train)


def test_too_little_replay_is_an_error_and_not_less_replay(tmp_path: Path) -> None:
    train, general = questions(tmp_path / "train.jsonl", 20), questions(tmp_path / "general.jsonl", 5)
    with pytest.raises(DataError, match=r"holds 5 rows, expected 10 or more .* lower data.replay.ratio to 0.25"):
        load(job(Data(train, replay=Replay(general, 0.5))))


def test_what_training_must_not_have_seen(tmp_path: Path) -> None:
    train, held_out = questions(tmp_path / "train.jsonl", 20), questions(tmp_path / "eval.jsonl", 4, "e")
    data = Data(train, held_out, Mirror(5))
    own = guard(questions(tmp_path / "own.jsonl", 3, "o"))
    suites = [guard(), Suite("m", "guard", "mirror", Scorer("exact"), margin=0.1), own]
    found = load(Job("tiny", Path("x"), 1, "base", data, tuple(suites[i] for i in (0, 1))))
    assert {Path(e.source).name for e in found.held_out} == {"eval.jsonl"}
    assert {Path(e.source).name for e in load(job(data, own)).held_out} == {"eval.jsonl", "own.jsonl"}


def test_an_item_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    held_out = jsonl(tmp_path / "eval.jsonl", [{"prompt": "a", "completion": "b"}] * 2)
    with pytest.raises(DataError, match=r"eval.jsonl, row 2: asks and expects the same as row 1"):
        load(job(Data(questions(tmp_path / "train.jsonl", 20), held_out), guard()))


@pytest.mark.parametrize("scorer", sorted(SCORERS))
def test_a_row_that_says_not_what_is_right_is_refused_where_answers_are_compared_with_it(
    tmp_path: Path, scorer: str
) -> None:
    """The text "None" is in few answers, the empty one in all. A form, a function or a judge may need no reference."""
    train = questions(tmp_path / "train.jsonl", 20)
    given: list[Any] = ["Paris", ["New York", "NYC"], 0, None, " ", [], ["Rome", ""]]
    own = jsonl(tmp_path / "own.jsonl", [{"prompt": f"q {i}", "reference": r} for i, r in enumerate(given)])
    asked = job(Data(train), dataclasses.replace(guard(own), scorer=Scorer(scorer)))
    if scorer not in ("exact", "contains", "choice", "numeric"):
        assert len(load(asked).suites["copy"]) == len(given)
        return
    with pytest.raises(DataError) as raised:
        load(asked)
    said = f"rows 4, 5, 6 and 1 more: has no reference, or a blank one, expected what the scorer {scorer} of suite copy"
    assert f"own.jsonl, {said}" in str(raised.value)


@pytest.mark.parametrize(
    ("scorer", "reference", "problem"),
    [
        (Scorer("contains", {"normalize": ("punctuation",)}), "?", "leaves nothing of the reference '?'"),
        (Scorer("numeric"), "5/8", "the reference '5/8'"),
        (Scorer("choice"), "E", "the reference 'E' is none of the choices"),
    ],
)
def test_a_reference_that_its_scorer_cannot_use_is_refused_before_anything_is_asked(
    tmp_path: Path, scorer: Scorer, reference: str, problem: str
) -> None:
    own = jsonl(tmp_path / "own.jsonl", [{"prompt": "q", "reference": reference}])
    asked = job(Data(questions(tmp_path / "train.jsonl", 20)), dataclasses.replace(guard(own), scorer=scorer))
    with pytest.raises(DataError) as raised:
        load(asked)
    assert problem in str(raised.value)


def test_all_bad_rows_of_all_files_are_told(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"prompt": "a", "completion": "b"}\n\n{"prompt": 1,\n[]\n')
    held_out = jsonl(tmp_path / "eval.jsonl", [{"prompt": "a", "completion": "b"}, {"question": "a"}])
    with pytest.raises(DataError) as raised:
        load(job(Data(Rows(tmp_path / "train.jsonl"), held_out), guard()))
    assert [line.partition(": ")[0].rpartition("/")[2] for line in str(raised.value).splitlines()] == [
        "train.jsonl, row 3",
        "train.jsonl, row 4",
        "eval.jsonl, row 2",
    ]


def test_rows_of_one_fault_are_told_together(tmp_path: Path) -> None:
    with pytest.raises(DataError) as raised:
        read_rows(jsonl(tmp_path / "train.jsonl", [{"prompt": "q", "completion": "a"}, *[{"prompt": ["?"]}] * 25]))
    assert len(str(raised.value).splitlines()) == 1
    assert "rows 2, 3, 4 and 22 more: a message has no 'role'" in str(raised.value)


def test_of_many_faults_the_first_are_told_and_the_rest_counted(tmp_path: Path) -> None:
    with pytest.raises(DataError) as raised:
        read_rows(jsonl(tmp_path / "train.jsonl", [{"prompt": "q"}, *({f"c{i}": 1} for i in range(25))]))
    assert len(str(raised.value).splitlines()) == 11
    assert str(raised.value).endswith("train.jsonl: and 15 other problems")


def test_what_is_wrong_with_every_row_is_told_once(tmp_path: Path) -> None:
    rows = [{"prompt": f"q {i}", "answer": "a"} for i in range(64)]
    named = dataclasses.replace(jsonl(tmp_path / "train.jsonl", rows), columns={"prompt": "promt", "answer": "answer"})
    with pytest.raises(DataError) as raised:
        read_rows(named)
    said = "all 64 rows: has no column 'promt'; did you mean 'prompt'?; it has 'prompt', 'answer'"
    assert str(raised.value).endswith(f"train.jsonl, {said}")


def test_a_cluster_that_rows_lack_names_the_setting_that_asks_for_it(tmp_path: Path) -> None:
    own = dataclasses.replace(questions(tmp_path / "own.jsonl", 3), cluster="doc")
    asked = job(Data(questions(tmp_path / "train.jsonl", 20)), guard(own))
    for gate, key in ((Gate(cluster="doc"), "gate.cluster"), (Gate(), "cluster")):
        with pytest.raises(DataError) as raised:
            load(dataclasses.replace(asked, gate=gate))
        assert str(raised.value).endswith(
            f"all 3 rows: has no column 'doc'; it has 'prompt', 'completion' ({key} names it)"
        )


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", ["train.jsonl", "train.csv", "train.json"])
def test_utf_16_is_told_once(tmp_path: Path, encoding: str, name: str) -> None:
    (tmp_path / name).write_bytes("\ufeffprompt,completion\na,b\n".encode(encoding))
    with pytest.raises(UsageError) as raised:
        read_rows(Rows(tmp_path / name))
    assert str(raised.value).endswith(f"{name}: is UTF-16, expected UTF-8: save it again as UTF-8")


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_a_file_without_rows(tmp_path: Path, text: str) -> None:
    (tmp_path / "train.jsonl").write_text(text)
    with pytest.raises(DataError, match="holds no row"):
        read_rows(Rows(tmp_path / "train.jsonl"))


def test_texts_are_no_conversations(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="row 1: is a text without roles, expected a conversation"):
        read_rows(jsonl(tmp_path / "train.jsonl", [{"text": "Once upon a time"}]))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        load(job(Data(Rows(tmp_path / "train.jsonl"))))


def test_what_else_a_row_says(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"q": "a", "a": "b", "doc": "d1", "n": 7, "topic": "x", "must": True},
        {"q": "c", "a": "d", "doc": None, "n": None, "topic": "", "must": "no"},
    ]
    jsonl(tmp_path / "e.jsonl", rows)
    columns = {"prompt": "q", "answer": "a"}
    named = Rows(tmp_path / "e.jsonl", columns=columns, id="n", cluster="doc", slice="topic", critical="must")
    first, second = read_rows(named)
    assert (first.given_id, first.cluster, first.slice, first.critical, first.reference) == ("7", "d1", "x", True, "b")
    assert (second.given_id, second.cluster, second.slice, second.critical) == (None, None, None, False)
    with pytest.raises(DataError, match=r"has no column 'dok'; did you mean 'doc'\?; it has 'q'"):
        read_rows(Rows(tmp_path / "e.jsonl", columns=columns, cluster="dok"))


def test_half_of_a_surrogate_pair_is_named_before_anything_is_asked(tmp_path: Path) -> None:
    whole = {"prompt": "\U0001f600", "completion": "a"}  # JSON writes it as a pair: that is one character
    own = jsonl(tmp_path / "own.jsonl", [whole, {"prompt": "\ud83d", "completion": "a"}])
    with pytest.raises(DataError, match=r"own.jsonl, row 2: holds '\\ud83d', half of a surrogate pair"):
        load(job(Data(questions(tmp_path / "train.jsonl", 20)), guard(own)))
    unread = jsonl(tmp_path / "own.jsonl", [{**whole, "note": "\ud83d"}])
    assert load(job(Data(questions(tmp_path / "train.jsonl", 20)), guard(unread))).suites["copy"]


def test_a_question_of_ones_own_that_no_token_holds_is_told() -> None:
    with Prompts(BASE) as prompts, pytest.raises(UsageError, match=r"base: a conversation has no ids: "):
        prompts.ids([[{"role": "user", "content": "copy \ud83d"}]])


def test_a_reference_that_cannot_be_kept_is_refused_where_it_is_compared_with(tmp_path: Path) -> None:
    dates = {"prompt": ["a", "b"], "completion": ["c", "d"], "reference": [date(2024, 1, 2), date(2024, 1, 3)]}
    Dataset.from_dict(dates).to_parquet(str(tmp_path / "dates.parquet"))
    rows, train = Rows(tmp_path / "dates.parquet"), questions(tmp_path / "train.jsonl", 20)
    for asked in (job(Data(train), guard(rows)), job(Data(rows, mirror=Mirror(2)), guard("mirror"))):
        with pytest.raises(DataError, match=r"dates.parquet, all 2 rows: its reference is no JSON \(.* date"):
            load(asked)
    assert load(job(Data(rows, train), guard())).own  # what is only trained on is compared with nothing


def test_a_flag_is_read_from_every_kind_of_cell(tmp_path: Path) -> None:
    """What is not understood is not taken for "no": an item that may not be lost would be judged as any other."""
    said = {True: (True, 1, 1.0, "TRUE", "Yes", "y", " t "), False: (False, 0, 0.0, "False", "no", "N", "", " ", None)}
    rows = [{"prompt": f"{i}", "completion": "a", "must": cell} for i, cell in enumerate(said[True] + said[False])]
    named = dataclasses.replace(jsonl(tmp_path / "e.jsonl", rows), critical="must")
    assert [row.critical for row in read_rows(named)] == [True] * len(said[True]) + [False] * len(said[False])
    jsonl(tmp_path / "e.jsonl", [*rows, {"prompt": "?", "completion": "a", "must": "critical"}])
    with pytest.raises(DataError, match=r"row 17: column 'must' \(critical names it\) is 'critical', expected true"):
        read_rows(named)


def test_a_flag_that_some_rows_lack_survives_parquet(tmp_path: Path) -> None:
    """pandas has no whole numbers beside empty cells: 1 becomes 1.0."""
    columns = {"prompt": ["a", "b", "c"], "completion": ["x", "y", "z"], "must": [1.0, None, 0.0]}
    Dataset.from_dict(columns).to_parquet(str(tmp_path / "e.parquet"))
    assert [row.critical for row in read_rows(Rows(tmp_path / "e.parquet", critical="must"))] == [True, False, False]
