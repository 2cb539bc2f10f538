"""What is known of a judge: that it can be used, agrees with people and with itself, and what it left open."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from fakechat import FakeChat, Fault
from finetuning import BASE
from test_judge import item, judge, parts, right, says

from modelcheck import UsageError
from modelcheck.finetune.gate import Floor, Guard, Verdict, compare
from modelcheck.finetune.job_file import read_jobs
from modelcheck.finetune.judge.calibration import decided, kappa
from modelcheck.finetune.judge.calibration import read as read_gold
from modelcheck.finetune.judge.notes import notes
from modelcheck.finetune.judge.preflight import Tried, tried
from modelcheck.finetune.judge.settings import YES_NO
from modelcheck.finetune.samples import Sample
from modelcheck.finetune.scorers import scorer

JOB = """
[job.tiny]
base = "base"

[job.tiny.data]
train = { path = "train.jsonl" }

[[job.tiny.suite]]
name = "polite"
role = "floor"
min = 0.5
data = { path = "eval.jsonl", columns = { prompt = "question", reference = "answer", criteria = "rubric" } }

[job.tiny.suite.scorer]
type = "judge"
base_url = "URL"
model = "tiny"
max_retries = 0
"""
GOLD: list[dict[str, Any]] = [
    {"question": "2 + 2?", "reference": "4", "answer": "4", "verdict": "yes"},
    {"question": "2 + 3?", "reference": "5", "answer": "4", "verdict": "no"},
    {"question": "2 + 4?", "reference": "6", "answer": "six", "verdict": "yes"},
    {"question": "2 + 5?", "reference": "7", "answer": "8", "verdict": False},
]


@pytest.fixture
def server() -> Iterator[FakeChat]:
    with FakeChat() as running:
        # 2 + 2 is 4 may be said in words.
        running.answer = lambda body: says("yes" if "is 4" in parts(body)["answer"] else right(body))
        yield running


def attempt(server: FakeChat, folder: Path, more: str = "") -> Tried:
    (folder / "modelcheck.toml").write_text(JOB.replace("URL", server.url) + more)
    return tried(read_jobs(folder / "modelcheck.toml")["tiny"], folder / "cache")


def calibrated(server: FakeChat, folder: Path, least: float, gold: Sequence[Mapping[str, Any]] = GOLD) -> Tried:
    (folder / "gold.jsonl").write_text("".join(json.dumps(row) + "\n" for row in gold))
    return attempt(server, folder, f'calibration = "gold.jsonl"\nmin_agreement = {least}\n')


# ------------------------------------------------------------------ preflight


def test_a_judge_is_asked_once_before_anything_else(server: FakeChat, tmp_path: Path) -> None:
    found = attempt(server, tmp_path)
    assert found.problems == []
    [note] = found.notes
    assert note.endswith("suite polite: nobody has seen whether the judge agrees with people: add calibration")
    assert len(server.requests) == 1
    attempt(server, tmp_path)
    assert len(server.requests) == 2  # a key may have run out since


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        (Fault(401), "it asks for a key: put it into an environment variable and name that"),
        (
            Fault(text='{"choices": [{"message": {"content": "Fine!"}}]}'),
            "'Fine!' on a trial, without a verdict that can be read (yes, no): raise max_tokens if it was cut off",
        ),
        (
            Fault(text='{"choices": [{"message": {"content": null}}]}'),
            "raise max_tokens (it is 1024), a model that reasons first may have spent all of it on that, or mend",
        ),
        (Fault(404), "it has no model 'tiny'; it has another"),
    ],
    ids=["key", "parse", "empty", "model"],
)
def test_what_cannot_work_is_told_before(server: FakeChat, tmp_path: Path, fault: Fault, problem: str) -> None:
    server.known = ["another"]
    server.fault = lambda _, request: fault if request.method == "POST" else None
    [told] = attempt(server, tmp_path).problems
    assert told.startswith(f"{tmp_path / 'modelcheck.toml'}:14: suite polite: ")
    assert problem in told


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ('base_url = "http://127.0.0.1:9/v1"\nmin_agreement = 0.9', "has min_agreement without calibration"),
        (f'local = "{BASE}"\nbase_url = "http://127.0.0.1:9/v1"', "has local and base_url, expected a judge in"),
        (f'local = "{BASE}"\nthreads = 4', "has local and threads, expected a judge in"),
    ],
    ids=["min_agreement", "local and base_url", "threads"],
)
def test_what_the_scorer_refuses_is_told_before_with_its_line(tmp_path: Path, options: str, problem: str) -> None:
    table = JOB.replace('base_url = "URL"\nmodel = "tiny"\nmax_retries = 0\n', f'model = "tiny"\n{options}\n')
    table = table.replace('model = "tiny"\n', "") if "local" in options else table
    (tmp_path / "modelcheck.toml").write_text(table)
    job = read_jobs(tmp_path / "modelcheck.toml")["tiny"]
    [told] = tried(job, tmp_path / "cache").problems
    assert told.startswith(f"{tmp_path / 'modelcheck.toml'}:14: suite polite: {problem}")
    with pytest.raises(UsageError, match=re.escape(told.partition("; known are")[0])):
        scorer(job.suites[0].scorer.settings, job.place(job.suites[0]))


def test_a_key_that_is_not_there_is_told_before(server: FakeChat, tmp_path: Path) -> None:
    [told] = attempt(server, tmp_path, 'api_key_env = "NO_SUCH_KEY"\n').problems
    assert "the environment variable NO_SUCH_KEY, which api_key_env names, is not set" in told


def test_what_the_server_does_not_take_is_told(server: FakeChat, tmp_path: Path) -> None:
    server.unknown = {"seed"}
    assert "takes no seed: its own defaults hold" in attempt(server, tmp_path).notes[0]


def test_votes_without_a_draw_are_remarked_upon(server: FakeChat, tmp_path: Path) -> None:
    assert "3 votes at temperature 0 show only how far" in attempt(server, tmp_path, "votes = 3\n").notes[0]


# ------------------------------------------------------------------ agreement with people


def test_agreement_is_measured_once_and_told_with_its_interval(server: FakeChat, tmp_path: Path) -> None:
    found = calibrated(server, tmp_path, 0.7)
    assert found.problems == []
    assert "3 of 4 verdicts are those of people (0.75, 90 % interval" in found.notes[0]
    assert "Cohen's kappa 0.50" in found.notes[0]
    calibrated(server, tmp_path, 0.5)
    assert len(server.requests) == len(GOLD) + 2  # the second time only the trial


def test_a_judge_that_disagrees_is_refused_with_the_rows(server: FakeChat, tmp_path: Path) -> None:
    [told] = calibrated(server, tmp_path, 0.9).problems
    assert "min_agreement = 0.9 is asked: mend the prompt, or take a better judge" in told
    assert told.splitlines()[1:] == [
        f"  {tmp_path / 'gold.jsonl'}, row 3: a person says yes, the judge says no: it is so"
    ]


def test_votes_of_a_judge_that_are_tied_agree_with_nobody(server: FakeChat, tmp_path: Path) -> None:
    server.answer = lambda body: says("yes" if body["seed"] else "no")
    (tmp_path / "gold.jsonl").write_text(json.dumps(GOLD[0]))
    found = attempt(server, tmp_path, 'votes = 2\ntemperature = 0.7\ncalibration = "gold.jsonl"\n')
    [told] = found.problems
    assert "0 of 1 verdicts are those of people" in told
    assert "row 1: a person says yes, the judge does not decide" in told


def test_kappa_leaves_out_what_chance_gives() -> None:
    assert kappa(["yes", "no", "yes", "no"], ["yes", "no", "no", "no"]) == pytest.approx(0.5)
    assert kappa(["yes", "yes", "no"], ["yes", None, "no"]) == pytest.approx(0.5)
    # Who always says yes is right on nine in ten, by chance alone.
    assert kappa(["yes"] * 9 + ["no"], ["yes"] * 10) == 0
    assert kappa(["yes", "yes"], ["yes", "yes"]) is None


WORDS = {"good": 1.0, "fair": 0.5, "bad": 0.0}


@pytest.mark.parametrize(
    ("votes", "verdict"),
    [
        (["fair"], "fair"),
        (["good", "bad", "good"], "good"),
        (["bad", None, None], "bad"),  # what cannot be read is left out
        (["good", "bad"], None),
        (["good", "fair", "bad"], None),
        ([None], None),
        ([None, None], None),
        ([], "bad"),  # an empty answer, which nobody is asked about
    ],
)
def test_a_judge_says_what_most_of_its_votes_say(votes: list[str | None], verdict: str | None) -> None:
    assert decided(votes, WORDS) == verdict


@pytest.mark.parametrize(
    ("answer", "options"),
    [
        (lambda _: "I will not say", 'unparsable = "count"'),
        (lambda body: says("good" if body["seed"] else "bad"), "votes = 2\ntemperature = 0.7"),
    ],
    ids=["unreadable", "tied"],
)
def test_a_mean_in_the_middle_is_no_verdict(server: FakeChat, tmp_path: Path, answer: Any, options: str) -> None:
    server.answer = lambda body: answer(body) if "2 + 2 is 4" not in parts(body)["answer"] else says("good")
    (tmp_path / "gold.jsonl").write_text(json.dumps({**GOLD[0], "verdict": "fair"}))
    grades = "grades = { good = 1.0, fair = 0.5, bad = 0.0 }"
    found = attempt(server, tmp_path, f'{options}\n{grades}\ncalibration = "gold.jsonl"\n')
    [told] = found.problems
    assert "0 of 1 verdicts are those of people" in told
    assert "row 1: a person says fair, the judge does not decide" in told


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"verdict": "maybe"}, "row 1: the verdict is 'maybe', expected one of yes, no"),
        (
            {"criteria": 3},
            "row 1: the criteria are a int, expected a text or a list of texts; expected question, answer",
        ),
        ({"question": ["a"]}, "row 1: column 'question' is a list, expected a text"),
    ],
)
def test_a_gold_row_that_cannot_be_used(tmp_path: Path, row: dict[str, Any], problem: str) -> None:
    (tmp_path / "gold.jsonl").write_text(json.dumps({**GOLD[0], **row}))
    with pytest.raises(UsageError, match=problem):
        read_gold(tmp_path / "gold.jsonl", YES_NO)


def test_a_verdict_that_is_true_is_spelt_as_the_grades_are(tmp_path: Path) -> None:
    (tmp_path / "gold.jsonl").write_text(json.dumps({**GOLD[0], "verdict": True}))
    for grades in (YES_NO, {"true": 1.0, "false": 0.0}):
        assert [row.verdict for row in read_gold(tmp_path / "gold.jsonl", grades)] == [next(iter(grades))]


def test_gold_that_lacks_a_column_or_every_row(tmp_path: Path) -> None:
    (tmp_path / "gold.jsonl").write_text('{"question": "a"}')
    with pytest.raises(UsageError, match="row 1: has no column 'answer'"):
        read_gold(tmp_path / "gold.jsonl", YES_NO)
    (tmp_path / "gold.jsonl").write_text("")
    with pytest.raises(UsageError, match="holds no row"):
        read_gold(tmp_path / "gold.jsonl", YES_NO)


# ------------------------------------------------------------------ what verdicts say about the judge


def judged(number: int, *verdicts: str | None, score: float = 0.5) -> Sample:
    unjudged = {"unjudged": True} if set(verdicts) == {None} else {}
    return Sample(item=f"{number:03}", answer="x", score=score, metadata={"verdicts": list(verdicts), **unjudged})


def test_ties_drift_and_what_could_not_be_read_are_told() -> None:
    assert list(notes([judged(0, "yes"), judged(1, "no")])) == []
    assert list(notes([Sample(item="a", answer="x", score=1.0)])) == []
    said = list(notes([judged(0, "yes", "no"), judged(1, "yes", "yes"), judged(2, None, None), judged(3)]))
    assert said == [
        "the judge: 2 of 6 votes could not be read and are left out",
        "the judge: 1 of 4 answers have no verdict",
        "the judge: 1 of 4 answers are empty and score 0 without being judged",
        "the judge: two votes on an answer agree in 50.0% of pairs, 1 answers tied",
    ]


def runs(unjudged: int, count: int = 200) -> tuple[list[Sample], list[Sample]]:
    """Both models are good, and the judge says nothing of the first few answers of the tuned one."""
    base = [judged(n, "yes", score=1.0) for n in range(count)]
    return base, [judged(n, None, score=0.5) for n in range(unjudged)] + base[unjudged:]


def test_answers_without_verdict_widen_the_interval_and_are_told() -> None:
    whole, partly = compare(*runs(0), role=Guard(0.05)), compare(*runs(4), role=Guard(0.05))
    assert whole.verdict is Verdict.PASS
    assert whole.notes == ()
    assert partly.upper > 0 > partly.lower
    assert partly.notes[-1] == "answers without verdict count as a half and widen the interval by 0.010 on each side"
    assert "tuned, the judge: 4 of 200 answers have no verdict" in partly.notes


def test_what_the_judge_left_open_decides_nothing() -> None:
    assert compare(*runs(6), role=Floor(0.97)).verdict is Verdict.INCONCLUSIVE
    base, tuned = runs(0)
    assert compare(base, tuned, role=Floor(0.97)).verdict is Verdict.PASS


def test_too_many_answers_without_verdict_are_no_measurement() -> None:
    result = compare(*runs(11), role=Guard(0.5))
    assert result.verdict is Verdict.FAIL
    assert result.notes[-1].endswith("more than 5% of a side have none: mend the judge first")


# ------------------------------------------------------------------ criteria of rows


def test_criteria_are_a_column_of_evaluation_rows(server: FakeChat, tmp_path: Path) -> None:
    from modelcheck.finetune.data import read_rows

    attempt(server, tmp_path)
    [suite] = read_jobs(tmp_path / "modelcheck.toml")["tiny"].suites
    rows = [
        {"question": "2 + 2?", "answer": "4", "rubric": "It is a number."},
        {"question": "2 + 2?", "answer": "4", "rubric": ["It is short.", "It is polite."]},
    ]
    (tmp_path / "eval.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert not isinstance(suite.data, str)
    first, second = read_rows(suite.data)
    assert (first.criteria, second.criteria) == ("It is a number.", "- It is short.\n- It is polite.")
    assert first.id != second.id
    judge(server)("4", second)
    assert parts(server.asked()[-1])["criteria"] == "- It is short.\n- It is polite."
    assert item(criteria=None).id == item().id


def test_rows_that_are_only_trained_on_need_no_criteria(tmp_path: Path) -> None:
    shared = 'train = { path = "train.jsonl" }\ncolumns = { prompt = "q", answer = "a", criteria = "c" }'
    text = JOB.replace('train = { path = "train.jsonl" }', f'{shared}\neval = {{ path = "eval.jsonl" }}')
    file = tmp_path / "modelcheck.toml"
    file.write_text(text.replace("URL", "http://127.0.0.1:9/v1"))
    data = read_jobs(file)["tiny"].data
    assert data.eval
    assert (data.train.columns, data.eval.columns["criteria"]) == ({"prompt": "q", "answer": "a"}, "c")
    mirrored = text.replace("[[", 'mirror = { from = "train" }\n[[', 1)
    file.write_text(mirrored.replace("URL", "http://127.0.0.1:9/v1"))
    assert read_jobs(file)["tiny"].data.train.columns["criteria"] == "c"
