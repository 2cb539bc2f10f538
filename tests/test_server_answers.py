"""What a server says of an answer: how it becomes one like another engine's, and when it is none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from fakechat import FakeChat, Fault
from test_openai_engine import GREEDY, QUESTIONS, Ids, answered, refused, rendered

from modelcheck.finetune.job import Generation
from modelcheck.finetune.pairing import NotComparable, check_servers


@pytest.fixture(scope="module")
def ids() -> Ids:
    return rendered()


@pytest.fixture
def server(ids: Ids) -> Iterator[FakeChat]:
    with FakeChat(render=lambda messages, _: ids(messages)) as running:
        yield running


ANSWERS: dict[str, tuple[Mapping[str, Any], Generation, tuple[str, str]]] = {
    "plain": ({"message": {"content": "a b"}}, GREEDY, ("a b", "stop")),
    "cut": ({"message": {"content": "a b"}, "finish_reason": "length"}, GREEDY, ("a b", "length")),
    "nothing": ({"message": {"content": None}}, GREEDY, ("", "stop")),
    "cut, as others say it": ({"message": {"content": "a"}, "finish_reason": "max_tokens"}, GREEDY, ("a", "length")),
    "stopped, as others say it": ({"message": {"content": "a"}, "finish_reason": "eos_token"}, GREEDY, ("a", "stop")),
    "a refusal": ({"message": {"content": None, "refusal": "I will not."}}, GREEDY, ("I will not.", "stop")),
    "an answer, and no refusal": ({"message": {"content": "a", "refusal": None}}, GREEDY, ("a", "stop")),
    "a stop text that was left in": (
        {"message": {"content": "a b"}}, Generation(max_tokens=16, stop=(" b",)), ("a", "stop"),
    ),
    "a call": (
        {
            "message": {"content": "", "tool_calls": [{"function": {"name": "f", "arguments": '{"x": 1}'}}]},
            "finish_reason": "tool_calls",
        },
        GREEDY, ('<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>', "stop"),
    ),
    "a call without arguments": (
        {"message": {"content": "", "tool_calls": [{"function": {"name": "f"}}]}},
        GREEDY, ('<tool_call>\n{"name": "f", "arguments": null}\n</tool_call>', "stop"),
    ),
    "half a character": ({"message": {"content": "a\ud800"}}, GREEDY, ("a?", "stop")),
    "half a character in a call": (
        {"message": {"content": "", "tool_calls": [{"function": {"name": "f", "arguments": '{"x": "\\ud800"}'}}]}},
        GREEDY, ('<tool_call>\n{"name": "f", "arguments": {"x": "?"}}\n</tool_call>', "stop"),
    ),
    "a text beside no message": ({"text": "a", "message": None}, GREEDY, ("a", "stop")),
    "ids that are none": ({"message": {"content": "a"}, "token_ids": [-1, 1 << 40]}, GREEDY, ("a", "stop")),
}  # fmt: skip
NO_CALLS = {
    "no function": ([{"function": None}], '{"function": null}'),
    "another kind": ([{"type": "custom", "custom": {"name": "f"}}], '{"type": "custom", "custom": {"name": "f"}}'),
    "a text": ("f()", '"f()"'),
    "a table": ({"name": "f"}, '{"name": "f"}'),
    "a list of texts": (["f()"], '"f()"'),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_answers_become_what_other_engines_give(case: str, server: FakeChat, ids: Ids) -> None:
    choice, gen, (text, finish) = ANSWERS[case]
    server.answer = lambda _: choice
    found, _ = answered(server, ids, gen)
    assert {(answer.text, answer.finish) for answer in found.values()} == {(text, finish)}


@pytest.mark.parametrize("case", NO_CALLS)
def test_what_is_no_call_of_a_function_is_an_answer_as_it_stands(case: str, server: FakeChat, ids: Ids) -> None:
    calls, text = NO_CALLS[case]
    server.answer = lambda _: {"message": {"content": "", "tool_calls": calls}, "finish_reason": "tool_calls"}
    found, _ = answered(server, ids)
    assert {answer.text for answer in found.values()} == {f"<tool_call>\n{text}\n</tool_call>"}


def test_a_withheld_answer_is_no_answer(server: FakeChat, ids: Ids) -> None:
    server.answer = lambda _: {"message": {"content": ""}, "finish_reason": "content_filter"}
    assert "the server's content filter withheld the answer" in refused(server, ids)


@pytest.mark.parametrize("finish", ["abort", "error", "insufficient_system_resource", 7])
def test_what_did_not_end_by_itself_is_no_answer(server: FakeChat, ids: Ids, finish: Any) -> None:
    server.answer = lambda _: {"message": {"content": "a"}, "finish_reason": finish}
    assert f"with finish_reason {finish!r}, expected stop or length: it is no whole answer" in refused(server, ids)


def test_a_server_that_does_not_tell_why_answers_end_is_named(server: FakeChat, ids: Ids) -> None:
    server.answer = lambda _: {"message": {"content": "a"}, "finish_reason": None}
    found, identity = answered(server, ids)
    assert {answer.finish for answer in found.values()} == {"stop"}
    assert identity["notes"][-1].startswith("the server does not tell why answers end (finish_reason)")


def test_a_failure_in_the_middle_is_one_line(server: FakeChat, ids: Ids) -> None:
    bad = Fault(text='{"choices": []}')
    server.fault = lambda _, request: bad if request.body.get("messages") == QUESTIONS[4] else None
    message = refused(server, ids)
    assert "the answer to chat/completions holds no answer" in message
    assert "\n" not in message


# ------------------------------------------------------------------ who answered


def test_who_a_server_says_that_answered_is_kept(server: FakeChat, ids: Ids) -> None:
    server.called = "tiny-2026-08-06"
    assert answered(server, ids)[1]["server"]["told"] == "tiny-2026-08-06"
    assert answered(server, ids, direct=True)[1]["server"]["told"] is None  # it serves the one model that we gave it


def side(folder: str, told: str | None) -> dict[str, Any]:
    return {"server": {"model": folder, "told": told}}


def test_one_model_that_answers_for_both_is_compared_with_itself() -> None:
    with pytest.raises(NotComparable) as raised:
        check_servers(side("/a/base", "some-7b"), side("/a/merged", "some-7b"))
    assert str(raised.value).startswith(
        "the server was asked for '/a/base' and '/a/merged' and says that 'some-7b' answered both times, expected two"
    )


@pytest.mark.parametrize(
    ("base", "tuned"),
    [
        (side("/a/base", "/a/base"), side("/a/merged", "/a/merged")),
        (side("/a/base", "alias-2026-08-06"), side("/a/merged", "other-2026-08-06")),
        (side("/a/model", "model"), side("/b/model", "model")),  # by the last part of the folder
        (side("/a/base", None), side("/a/merged", None)),
        ({"weights": "a"}, {"weights": "b"}),  # no server at all
    ],
    ids=["names", "aliases", "last parts", "untold", "no server"],
)
def test_servers_of_two_models_are_compared_however_they_call_them(base: dict[str, Any], tuned: dict[str, Any]) -> None:
    check_servers(base, tuned)


@pytest.mark.parametrize(("field", "apart"), [("reasoning_content", True), ("reasoning", True), ("refusal", False)])
def test_thinking_that_a_server_gives_by_itself_is_no_part_of_the_text(
    server: FakeChat, ids: Ids, field: str, apart: bool
) -> None:
    server.answer = lambda _: {"message": {"content": "42", field: "40 + 2"}}
    assert {(answer.text, answer.apart) for answer in answered(server, ids)[0].values()} == {("42", apart)}
