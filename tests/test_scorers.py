"""Scorers and the stripping of thinking: what an answer is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelcheck import UsageError
from modelcheck.dataset.example import Example
from modelcheck.finetune.scorers import SCORERS, scorer
from modelcheck.finetune.thinking import strip

SCHEMA = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}, "additionalProperties": False}
HUNDREDTHS = {"properties": {"x": {"multipleOf": 0.01}}}
NESTED = {"type": "array", "items": {"$ref": "#"}}
DATE = {"type": "string", "format": "date"}
CASES: list[tuple[dict[str, Any], str, Any, float]] = [
    ({"type": "exact"}, " Paris\n", "Paris", 1),
    ({"type": "exact"}, "paris", "Paris", 0),
    ({"type": "exact", "normalize": ["strip", "casefold"]}, "PARIS ", "Paris", 1),
    ({"type": "exact", "normalize": []}, "Paris ", "Paris", 0),
    ({"type": "exact", "normalize": ["punctuation", "articles", "whitespace"]}, "The  Hague!", "Hague", 1),
    ({"type": "exact", "normalize": ["unicode"]}, "\ufb01sh", "fish", 1),
    ({"type": "exact"}, "7", 7, 1),
    ({"type": "exact"}, "NYC", ["New York", "NYC"], 1),
    ({"type": "exact"}, "", [], 0),
    ({"type": "exact"}, "None", None, 0),
    ({"type": "contains"}, "It is Paris, of course", "Paris", 1),
    ({"type": "contains"}, "It is London", ["Paris", "Rome"], 0),
    ({"type": "contains"}, "None of them", None, 0),
    ({"type": "contains", "normalize": ["punctuation"]}, "it is C", "C++", 1),
    ({"type": "contains", "normalize": []}, "why? so", "?", 1),
    ({"type": "exact", "normalize": ["articles", "strip"]}, "the list", "A list", 1),
    ({"type": "regex", "pattern": r"answer: (\w+)"}, "answer: 4 no, answer: 5", "5", 1),
    ({"type": "regex", "pattern": r"answer: (\w+)"}, "answer: 4 no, answer: 5", "4", 0),
    ({"type": "regex", "pattern": r"(\w+)=(\w+)", "group": 2}, "x=y", "y", 1),
    ({"type": "regex", "pattern": r"\d{4}"}, "in 1999", None, 1),
    ({"type": "regex", "pattern": r"\d{4}"}, "never", None, 0),
    ({"type": "numeric"}, "So we get 1,234.50 in all", 1234.5, 1),
    ({"type": "numeric"}, "3 + 4 = 7.", "7", 1),
    ({"type": "numeric"}, "between 3-4", 4, 1),
    ({"type": "numeric"}, "it is \u22125", -5, 1),
    ({"type": "numeric"}, "none", 0, 0),
    ({"type": "numeric"}, "E0", 1, 0),
    ({"type": "numeric"}, ".5 at most", 0.5, 1),
    ({"type": "numeric", "rtol": 0.01}, "about 99.1", 100, 1),
    ({"type": "numeric", "rtol": 0.01}, "about 98.9", 100, 0),
    ({"type": "numeric", "atol": 0.5}, "1e3", 1000.5, 1),
    ({"type": "numeric"}, "9" * 5000, 1, 0),
    ({"type": "numeric"}, "it is 1234.5", "$1,234.50", 1),
    ({"type": "numeric"}, "42", "42 apples", 1),
    ({"type": "numeric"}, "half of them, 50%", "50%", 1),
    ({"type": "numeric"}, "18", "16 - 3 - 4 = <<16-3-4=9>>9 eggs, 9 * 2 = 18\n#### 18", 1),
    ({"type": "numeric"}, "9", "16 - 3 - 4 = <<16-3-4=9>>9 eggs, 9 * 2 = 18\n#### 18", 0),
    ({"type": "numeric"}, "a loss of $-5", "-$5", 1),
    ({"type": "numeric"}, "5", "-$5", 0),
    ({"type": "numeric"}, "from $3-$5", 5, 1),
    ({"type": "numeric"}, "- $5 a piece", 5, 1),
    ({"type": "numeric"}, "1", [1, "2"], 1),
    ({"type": "numeric"}, "3", [1, "2"], 0),
    ({"type": "numeric"}, "1 000", 0, 0),
    ({"type": "numeric"}, "1 000", 1000, 1),
    ({"type": "numeric"}, "-12\u202f345\u202f678.9 EUR", "-12,345,678.9", 1),
    ({"type": "numeric"}, "in 2020 100", 100, 1),
    ({"type": "numeric"}, "first 1 2 300", 300, 1),
    ({"type": "numeric"}, "0 100", 100, 1),
    ({"type": "numeric"}, "1 0000", 0, 1),
    ({"type": "choice"}, "The answer is (B).", "B", 1),
    ({"type": "choice"}, "A big one: B", "B", 0),
    ({"type": "choice", "choices": ["yes", "no"]}, "nothing; yes", "yes", 1),
    ({"type": "choice"}, "I do not know", "D", 0),
    ({"type": "json_schema", "schema": SCHEMA}, '{"n": 1}', None, 1),
    ({"type": "json_schema", "schema": SCHEMA}, '```json\n{"n": 1}\n```', None, 1),
    ({"type": "json_schema", "schema": SCHEMA}, 'Here: {"n": 1}', None, 0),
    ({"type": "json_schema", "schema": SCHEMA}, '{"n": "1"}', None, 0),
    ({"type": "json_schema", "schema": SCHEMA}, "[" * 100_000, None, 0),
    ({"type": "json_schema", "schema": SCHEMA}, '```JSON\n{"n": 1}\n```', None, 1),
    ({"type": "json_schema", "schema": SCHEMA}, '{"n": "1", "n": 1}', None, 0),
    ({"type": "json_schema", "schema": {}}, '{"x": NaN}', None, 0),
    ({"type": "json_schema", "schema": {}}, "-Infinity", None, 0),
    ({"type": "json_schema", "schema": HUNDREDTHS}, '{"x": 1.25}', None, 1),
    ({"type": "json_schema", "schema": HUNDREDTHS}, '{"x": NaN}', None, 0),
    ({"type": "json_schema", "schema": HUNDREDTHS}, '{"x": 1e999}', None, 0),
    ({"type": "json_schema", "schema": HUNDREDTHS}, '{"x": ' + "9" * 400 + "}", None, 0),
    ({"type": "json_schema", "schema": NESTED}, "[[[]]]", None, 1),
    ({"type": "json_schema", "schema": NESTED}, "[" * 450 + "]" * 450, None, 0),
    ({"type": "json_schema", "schema": DATE}, '"2024-02-29"', None, 1),
    ({"type": "json_schema", "schema": DATE}, '"2023-02-29"', None, 0),
    ({"type": "json_schema", "schema": {"format": "of our own"}}, '"x"', None, 1),
    ({"type": "grammar", "ebnf": 'root ::= "yes" | "no"'}, "yes", None, 1),
    ({"type": "grammar", "ebnf": 'root ::= "yes" | "no"'}, "yes.", None, 0),
    ({"type": "python", "function": "operator:eq"}, "same", "same", 1),
    ({"type": "tool_call"}, '{"name": "f", "parameters": {"n": 1.0}}', {"name": "f", "arguments": {"n": 1}}, 1),
]


def item(reference: Any) -> Example:
    return Example((), 1, "rows.jsonl", reference, fields={"words": 1})


def shares_words(answer: str, reference: str, row: dict[str, int]) -> float:
    """A scorer of a user's own."""
    return len(set(answer.split()) & set(reference.split())) / row["words"]


@pytest.mark.parametrize(("settings", "answer", "reference", "score"), CASES, ids=range(len(CASES)))
def test_scores(settings: dict[str, Any], answer: str, reference: Any, score: float) -> None:
    if settings["type"] == "python":
        settings = {"type": "python", "function": f"{__name__.rpartition('.')[2]}:shares_words"}
    assert scorer(settings)(answer, item(reference)).value == score


def test_every_scorer_has_a_case() -> None:
    # A judge has tests of its own; lm_eval needs the package of that name: tests/test_lm_eval_suite.py
    assert {settings["type"] for settings, *_ in CASES} == set(SCORERS) - {"judge", "lm_eval"}


@given(st.text(max_size=60), st.sampled_from([c for c in CASES if c[0]["type"] != "python"]))
def test_any_answer_gets_a_score(answer: str, case: tuple[dict[str, Any], str, Any, float]) -> None:
    assert 0 <= scorer(case[0])(answer, item(case[2])).value <= 1


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "job.toml:7: lacks type, expected the name of a scorer"),
    ({"type": "exakt"}, "type is 'exakt'; did you mean 'exact'?; expected exact, contains, choice, regex, numeric"),
    (
        {"type": "exact", "normalise": []},
        "unknown option 'normalise'; did you mean 'normalize'?; known are type, normalize",
    ),
    (
        {"type": "exact", "normalize": ["lower"]},
        "normalize is ['lower'], expected a list of strip, casefold, whitespace",
    ),
    ({"type": "exact", "normalize": "strip"}, "normalize is 'strip', expected a list of"),
    ({"type": "regex"}, "lacks pattern"),
    ({"type": "regex", "pattern": "("}, "pattern is '(', expected a regular expression (missing )"),
    ({"type": "regex", "pattern": "(a)", "group": 2}, "group is 2, expected the number of a group of '(a)', 0 to 1"),
    ({"type": "numeric", "rtol": -1}, "rtol is -1, expected a number from 0"),
    ({"type": "numeric", "atol": True}, "atol is True, expected a number from 0"),
    ({"type": "choice", "choices": ["A", "A"]}, "choices is ['A', 'A'], expected a list of different words"),
    ({"type": "json_schema", "schema": "nowhere.json"}, "schema: nowhere.json: No such file"),
    ({"type": "json_schema", "schema": {"type": "strange"}}, "schema: $.type: 'strange' is not valid"),
    ({"type": "json_schema", "schema": {"$ref": "#"}}, "schema: refers to itself before it looks into a document"),
    ({"type": "json_schema", "schema": 3}, "schema is 3, expected the path of a JSON schema"),
    ({"type": "python", "function": "no_such_module:f"}, "function: no_such_module:f cannot be imported"),
    ({"type": "python", "function": "operator:nothing"}, "the module operator has no nothing"),
    (
        {"type": "python", "function": "operator"},
        "function is 'operator', expected a function as 'package.module:function'",
    ),
    ({"type": "python", "function": "math:pi"}, "this is a float"),
]


@pytest.mark.parametrize(("settings", "problem"), REFUSED, ids=range(len(REFUSED)))
def test_wrong_options_are_refused_with_what_is_accepted(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        scorer(settings, "job.toml:7")
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "reference", "problem"),
    [
        ({"type": "choice"}, "E", "the reference 'E' is none of the choices A, B, C, D"),
        ({"type": "numeric"}, "many", "the reference 'many' of rows.jsonl, row 1 is no number, expected exactly one"),
        ({"type": "numeric"}, "5/8", "the reference '5/8' of"),
        ({"type": "numeric"}, "12:30", "the reference '12:30' of"),
        ({"type": "numeric"}, "2024-05-01", "the reference '2024-05-01' of"),
        ({"type": "numeric"}, "3-4", "the reference '3-4' of"),
        ({"type": "numeric"}, "1,5", "the reference '1,5' of"),
        ({"type": "numeric"}, [1, "1/2"], "the reference '1/2' of"),
        (
            {"type": "contains", "normalize": ["punctuation"]},
            "?",
            "normalize = ['punctuation'] leaves nothing of the reference '?' of rows.jsonl, row 1",
        ),
        ({"type": "contains", "normalize": ["articles"]}, "A", "leaves nothing of the reference 'A'"),
        ({"type": "exact", "normalize": ["articles", "strip"]}, ["Apple", "A"], "leaves nothing of the reference 'A'"),
        ({"type": "exact"}, "  ", "leaves nothing of the reference '  '"),
        ({"type": "python", "function": "math:hypot"}, 4, "math:hypot raised TypeError: "),
        (
            {"type": "json_schema", "schema": {"$ref": "http://localhost:1/x"}},
            1,
            "refers to 'http://localhost:1/x', which",
        ),
    ],
)
def test_what_cannot_be_scored_is_no_zero(settings: dict[str, Any], reference: Any, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        scorer(settings, "job.toml:7")("1", item(reference))
    assert problem in str(caught.value)


def test_a_score_out_of_range_is_refused() -> None:
    settings = {"type": "python", "function": f"{__name__.rpartition('.')[2]}:shares_words"}
    with pytest.raises(
        UsageError, match=r"the scorer python gave 2.0 for the answer 'a b', expected a number from 0 to 1"
    ):
        scorer(settings)("a b", item("a b"))


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("plain", "plain"),
        ("<think>so</think>\n\n4", "4"),
        ("so it is</think>4", "4"),
        ("<think>so it goes on and 4", ""),
        ("<think>a</think>5<think>b", ""),
        ("<think>a</think>5<think>b</think>6", "6"),
        ("<think></think>", ""),
        ("", ""),
    ],
)
def test_thinking_is_stripped_strictly(text: str, answer: str) -> None:
    assert strip(text) == answer


def test_thinking_left_open_may_be_kept() -> None:
    assert strip("<think>a</think>5<think>b", unclosed="keep") == "5<think>b"


def test_other_tags() -> None:
    tags = [("<think", "</think"), ("[THINK]", "[/THINK]")]
    assert strip("[THINK]hm[/THINK] yes", tags) == "yes"
    assert strip("<think>hm</think> yes", []) == "<think>hm</think> yes"


@pytest.mark.parametrize(
    ("settings", "reads"),
    [
        ({"type": "exact"}, False),
        ({"type": "regex", "pattern": "a"}, False),
        ({"type": "tool_call"}, True),
        ({"type": "python", "function": "math:hypot"}, True),
    ],
)
def test_what_looks_beyond_prompt_and_reference_says_so(settings: dict[str, Any], reads: bool) -> None:
    """Of an answer, an item's id holds its text; its tool calls it does not."""
    assert scorer(settings).reads_rows is reads


def test_a_scorer_that_was_changed_makes_runs_another_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    schema, module = tmp_path / "out.json", tmp_path / "own_scorer.py"
    schema.write_text("{}")
    module.write_text("def score(answer, reference, row):\n    return 1\n")
    tables = [{"type": "json_schema", "schema": str(schema)}, {"type": "python", "function": "own_scorer:score"}]
    before = [scorer(table).decides for table in tables]
    assert [scorer(table).decides for table in tables] == before
    schema.write_text('{"type": "object"}')
    module.write_text("def score(answer, reference, row):\n    return 0\n")
    after = [scorer(table).decides for table in tables]
    assert all(old != new for old, new in zip(before, after, strict=True))


def test_what_a_scorer_scored_before_it_was_mended_is_of_another_kind() -> None:
    assert scorer({"type": "json_schema", "schema": {}}).decides["revision"] == 2
