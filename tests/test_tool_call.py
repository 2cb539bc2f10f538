"""The scorer for tool calls: the forms that models write, what counts as the same, and answers that mean harm."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelcheck import UsageError
from modelcheck.dataset.example import Example
from modelcheck.finetune.scorers import scorer
from modelcheck.finetune.scorers.tool_call import LONGEST, calls

WEATHER = {"name": "weather", "arguments": {"city": "Paris", "days": 2, "units": {"wind": "kn", "sun": True}}}
TIME = {"name": "time", "arguments": {"zone": None}}
ARGUMENTS = json.dumps(WEATHER["arguments"])


def score(answer: str, reference: Any, **options: bool) -> float:
    """What an answer is worth."""
    return scorer({"type": "tool_call", **options})(answer, Example((), 1, "rows.jsonl", reference)).value


WRITTEN = {
    "bare": json.dumps(WEATHER),
    "parameters": json.dumps({"name": "weather", "parameters": WEATHER["arguments"]}),
    "a list": json.dumps([WEATHER]),
    "in a fence": f"```json\n{json.dumps(WEATHER, indent=2)}\n```",
    "tagged": f"<tool_call>\n{json.dumps(WEATHER)}\n</tool_call>",
    "tagged, with words before it": f"I will look.\n<tool_call>{json.dumps(WEATHER)}</tool_call>",
    "as the OpenAI API has it": json.dumps({"type": "function", "function": {**WEATHER, "arguments": ARGUMENTS}}),
    "a list behind a control token": f"[TOOL_CALLS] {json.dumps([WEATHER])}",
    "a name and arguments behind control tokens": f"[TOOL_CALLS]weather[ARGS]{ARGUMENTS}",
    "the same without control tokens": f"weather{ARGUMENTS}",
    "behind a tag of Python": f"<|python_tag|>{json.dumps(WEATHER)}",
    "a call as in Python": "weather(city='Paris', days=2, units={'wind': 'kn', 'sun': True})",
    "a list of calls as in Python": "[weather(city='Paris', days=2, units={'sun': True, 'wind': 'kn'})]",
}


@pytest.mark.parametrize("answer", WRITTEN.values(), ids=WRITTEN)
def test_every_form_of_a_call_is_read(answer: str) -> None:
    assert score(answer, WEATHER) == 1
    assert score(answer, TIME) == 0
    assert score(json.dumps(WEATHER), answer) == 1  # and as a reference


TWO = {
    "tagged": "".join(f"<tool_call>{json.dumps(call)}</tool_call>\n" for call in (WEATHER, TIME)),
    "a list": json.dumps([WEATHER, TIME]),
    "parted by semicolons": f"{json.dumps(WEATHER)}; {json.dumps(TIME)}",
    "control tokens": f'[TOOL_CALLS]weather[ARGS]{ARGUMENTS}[TOOL_CALLS]time[ARGS]{{"zone": null}}',
    "names and arguments": f'weather{ARGUMENTS}time{{"zone": null}}',
    "Python": "[weather(city='Paris', days=2, units={'wind': 'kn', 'sun': True}), time(zone=None)]",
}


@pytest.mark.parametrize("answer", TWO.values(), ids=TWO)
def test_several_calls(answer: str) -> None:
    assert score(answer, [WEATHER, TIME]) == score(answer, [TIME, WEATHER]) == 1
    assert score(answer, [WEATHER, TIME], ordered=True) == 1
    assert score(answer, [TIME, WEATHER], ordered=True) == 0


def test_extra_and_missing_calls_are_wrong_and_credit_is_an_option() -> None:
    both, one = json.dumps([WEATHER, TIME]), json.dumps(WEATHER)
    for answer, reference in ((both, WEATHER), (one, [WEATHER, TIME]), (json.dumps([WEATHER] * 2), WEATHER)):
        assert score(answer, reference) == 0
        assert score(answer, reference, partial=True) == 0.5
    assert score(both, [TIME, WEATHER], partial=True, ordered=True) == 0
    assert score("no call", [WEATHER], partial=True) == 0


def test_where_nothing_may_be_called_words_are_right() -> None:
    for options in ({}, {"partial": True}, {"ordered": True}):
        assert score("It is sunny.", [], **options) == 1
        assert score("[]", [], **options) == 1
        assert score(json.dumps(TIME), [], **options) == 0


EQUAL = [
    ('{"n": 1}', '{"n": 1.0}'),
    ('{"a": 1, "b": 2}', '{"b": 2, "a": 1}'),
    ("{}", "null"),
    ('{"s": "\\u00e9"}', '{"s": "é"}'),
]
DIFFERENT = [
    ('{"n": 1}', '{"n": true}'),
    ('{"n": 1}', '{"n": "1"}'),
    ('{"l": [1, 2]}', '{"l": [2, 1]}'),
    ('{"x": null}', "{}"),
]


@pytest.mark.parametrize(("a", "b", "same"), [*((*p, True) for p in EQUAL), *((*p, False) for p in DIFFERENT)])
def test_arguments_are_compared_as_json(a: str, b: str, same: bool) -> None:
    answer = f'{{"name": "f", "arguments": {a}}}'
    assert score(answer, {"name": "f", "arguments": json.loads(b)}) == same


NO_CALL = {
    "words": "I would call weather for Paris.",
    "nothing": "",
    "a number": "3",
    "not closed": f"<tool_call>{json.dumps(WEATHER)}",
    "cut": json.dumps(WEATHER)[:-3],
    "words behind it": f"{json.dumps(WEATHER)} and so on",
    "words behind the name": f"weather{ARGUMENTS} and so on",
    "no name": '{"arguments": {}}',
    "arguments are a list": '{"name": "weather", "arguments": [1]}',
    "arguments twice": '{"name": "weather", "arguments": {"a": 1}, "parameters": {"a": 1}}',
    "a key twice": '{"name": "time", "name": "weather", "arguments": {}}',
    "not a number of JSON": '{"name": "weather", "arguments": {"n": NaN}}',
    "by position": "weather('Paris', 2)",
    "computed": "weather(city='Pa' + 'ris')",
    "code": "__import__('os').system(command='true')",
    "keys that are no text": "weather(city={1: 2})",
    "no value of JSON": "weather(city=b'Paris')",
}


@pytest.mark.parametrize("answer", NO_CALL.values(), ids=NO_CALL)
def test_what_cannot_be_read_is_wrong(answer: str) -> None:
    assert score(answer, WEATHER) == 0


HOSTILE = {
    "deep lists": "[" * 50_000,
    "deep objects": '{"name": ' * 10_000,
    "deep arguments": '{"name": "f", "arguments": {"a": ' + "[" * 40_000,
    "closed and deep": '{"name": "f", "arguments": {"a": ' + "[" * 900 + "]" * 900 + "}}",
    "deep calls": "f(a=" * 20_000,
    "deep signs": "f(a=" + "-" * 50_000 + "1)",
    "deep brackets": "(" * 50_000,
    "a long number": '{"name": "f", "arguments": {"n": ' + "9" * 50_000 + "}}",
    "a huge one": "f(n=" + "9" * 50_000 + ")",
    "many tags": "<tool_call>" * 9_000,
    "many calls": '{"name": "f"}' * 7_000,
    "a long name": "f" * 99_000,
    "long blanks": "```json\n" + " \n" * 45_000,
    "beyond the limit": '{"name": "weather", "arguments": {"city": "' + "P" * LONGEST + '"}}',
    "controls": "\x00\ud800<tool_call>\x00</tool_call>",
}


@pytest.mark.parametrize("answer", HOSTILE.values(), ids=HOSTILE)
def test_hostile_answers_score_nothing_soon(answer: str) -> None:
    start = time.perf_counter()
    assert score(answer, WEATHER) == 0
    assert time.perf_counter() - start < 2


@given(st.text(alphabet="{}[]():,;\"'\\ \nfn=1.-<>|tool_cal", max_size=60))
def test_any_text_has_a_score(answer: str) -> None:
    assert score(answer, WEATHER) in (0, 1)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=25)
@given(st.dictionaries(st.text(max_size=5), json_values, max_size=4))
def test_any_arguments_survive_being_written(arguments: dict[str, Any]) -> None:
    call = {"name": "f", "arguments": arguments}
    assert score(json.dumps(call), call) == 1
    assert score(f"<tool_call>{json.dumps(call, ensure_ascii=False)}</tool_call>", call) == 1


class TestReference:
    def test_the_calls_of_the_last_answer_are_the_reference(self) -> None:
        message = {
            "role": "assistant",
            "content": "I will look.",
            "tool_calls": [{"type": "function", "function": WEATHER}],
        }
        item = Example(({"role": "user", "content": "?"}, message), 1, "rows.jsonl", "I will look.")
        assert scorer({"type": "tool_call"})(json.dumps(WEATHER), item).value == 1
        assert scorer({"type": "tool_call"})(json.dumps(TIME), item).value == 0

    @pytest.mark.parametrize("reference", ["Paris", None, 3, [3], {"arguments": {}}], ids=repr)
    def test_one_that_is_no_call_names_its_row(self, reference: Any) -> None:
        with pytest.raises(UsageError, match=r"scorer: the reference of rows.jsonl, row 1 is no tool call \("):
            score("{}", reference)

    def test_options_are_flags(self) -> None:
        with pytest.raises(UsageError, match="ordered is 'yes', expected true or false"):
            scorer({"type": "tool_call", "ordered": "yes"})


def test_calls_are_in_order() -> None:
    assert [name for name, _ in calls(TWO["a list"])] == ["weather", "time"]
