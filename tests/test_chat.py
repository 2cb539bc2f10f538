"""The client for servers of the OpenAI kind: what it waits for, what it says when it gives up, what it never says."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from fakechat import FakeChat, Fault

from modelcheck.finetune.chat import Chat, ChatError, Endpoint
from modelcheck.finetune.chat.endpoint import ENDPOINT_KEYS
from modelcheck.finetune.kinds import Reader, Table

HELLO = [{"role": "user", "content": "hello"}]
KEY = "sk-Zq8vQ1-do-not-tell"


@pytest.fixture
def server() -> Iterator[FakeChat]:
    with FakeChat() as running:
        yield running


def asked(server: FakeChat, **settings: Any) -> Any:
    with Chat(Endpoint(server.url, **{"model": "tiny", "max_retries": 2, "timeout": 5.0, **settings})) as chat:
        return chat.ask(HELLO, temperature=0.0, seed=None)


def refusal(server: FakeChat, **settings: Any) -> ChatError:
    with pytest.raises(ChatError) as raised:
        asked(server, **settings)
    assert "\n" not in str(raised.value)
    return raised.value


def test_a_request_holds_what_was_pinned_and_nothing_that_is_not(server: FakeChat) -> None:
    reply = asked(server, extra_body={"top_k": -1})
    assert (reply.text, reply.finish) == ("yes", "stop")
    assert server.asked() == [{"model": "tiny", "messages": HELLO, "temperature": 0.0, "top_k": -1}]
    assert server.requests[0].authorization is None


def test_a_key_of_the_environment_goes_to_no_server_that_was_not_given_it(
    server: FakeChat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    asked(server)
    assert server.requests[0].authorization is None
    asked(server, api_key_env="OPENAI_API_KEY")
    assert server.requests[1].authorization == f"Bearer {KEY}"


# ------------------------------------------------------------------ patience


def date(seconds: float) -> str:
    """So many seconds from now, as HTTP writes it: without a fraction."""
    return formatdate(time.time() + seconds, usegmt=True)


@pytest.mark.parametrize("wait", [lambda: "1", lambda: date(2)], ids=["seconds", "date"])
def test_retry_after_is_waited_for(server: FakeChat, wait: Callable[[], str]) -> None:
    server.fault = lambda number, _: Fault(429, headers={"retry-after": wait()}) if number == 1 else None
    assert asked(server).text == "yes"
    first, second = (request.at for request in server.requests)
    assert 1.0 <= second - first < 3.0


@pytest.mark.parametrize("wait", [lambda: "3600", lambda: date(3600)], ids=["seconds", "date"])
def test_who_is_told_to_wait_for_too_long_gives_up_at_once(server: FakeChat, wait: Callable[[], str]) -> None:
    told = wait()
    server.fault = lambda *_: Fault(429, headers={"retry-after": told})
    started = time.monotonic()
    error = refusal(server)
    assert (error.kind, len(server.requests)) == ("busy", 1)
    assert time.monotonic() - started < 1
    assert f"the last with Retry-After: {told} (more than 120 s is not waited for)" in str(error)
    assert str(error).endswith("lower concurrency, raise max_retries, or ask for a higher limit")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_may_pass_is_repeated_so_often_and_no_more(server: FakeChat, status: int) -> None:
    server.fault = lambda *_: Fault(status, headers={"retry-after": "0.01"})
    error = refusal(server)
    assert (error.status, len(server.requests)) == (status, 3)
    assert "3 times" in str(error)


def test_a_server_that_recovers_is_no_failure(server: FakeChat) -> None:
    server.fault = lambda number, _: Fault(503, headers={"retry-after": "0.01"}) if number < 3 else None
    assert asked(server).text == "yes"


UNDER_200: dict[str, tuple[dict[str, Any], str, int]] = {
    "passing": ({"error": {"message": "overloaded"}}, "answered with 503 (overloaded), 3 times", 3),
    "a text": ({"error": "overloaded"}, "answered with 503 (overloaded), 3 times", 3),
    "a name for a code": ({"error": {"message": "m", "code": "busy"}}, "answered with 503 (m), 3 times", 3),
    "busy": ({"error": {"message": "slow down", "code": 429}}, "answered with 429 (slow down) after up to 3 times", 3),
    "no model": ({"error": {"message": "no", "code": 404}}, "answered with 404 (no): it has the model 'tiny', but", 1),
}


@pytest.mark.parametrize("case", UNDER_200)
def test_an_error_that_is_sent_as_an_answer_is_one(server: FakeChat, case: str) -> None:
    content, said, times = UNDER_200[case]
    server.fault = lambda _, request: (
        Fault(text=json.dumps(content), headers={"retry-after": "0.01"}) if request.method == "POST" else None
    )
    assert said in str(refusal(server))
    assert len(server.asked()) == times


@pytest.mark.parametrize("more", [{"error": None}, {"error": ""}, {"error": {"message": "beside an answer"}}])
def test_an_answer_that_has_a_place_for_errors_is_none(server: FakeChat, more: dict[str, Any]) -> None:
    server.fault = lambda *_: Fault(text=json.dumps({"choices": [{"text": 'an "error"'}], **more}))
    assert asked(server).text == 'an "error"'


def test_a_server_that_does_not_answer_is_given_up(server: FakeChat) -> None:
    server.fault = lambda *_: Fault(seconds=1.0)
    error = refusal(server, timeout=0.1, max_retries=0)
    assert error.kind == "timeout"
    assert "was not answered within timeout = 0.1 s, once: raise timeout" in str(error)


def test_a_server_that_only_sends_signs_of_life_is_given_up(server: FakeChat) -> None:
    answer = '{"choices": [{"text": "late"}]}'
    server.fault = lambda *_: Fault(text=answer, blanks=50)
    started = time.monotonic()
    error = refusal(server, timeout=0.5, max_retries=0)
    assert error.kind == "timeout"
    assert time.monotonic() - started < 2
    server.fault = lambda *_: Fault(text=answer, blanks=5)
    assert asked(server).text == "late"


def test_many_are_asked_at_a_time_and_the_first_error_ends_it(server: FakeChat) -> None:
    # Nobody is answered before all eight have asked.
    together = threading.Barrier(8, timeout=20)

    def fault(*_: object) -> Fault:
        together.wait()
        return Fault(text='{"choices": [{"text": "late"}]}')

    server.fault = fault
    with Chat(Endpoint(server.url, "tiny", concurrency=8)) as chat:
        found = dict(chat.each(lambda prompt: chat.complete(prompt).text, [f"{n}" for n in range(8)]))
        assert found == {f"{n}": "late" for n in range(8)}
        server.fault = lambda *_: Fault(400)
        server.requests.clear()
        with pytest.raises(ChatError):
            dict(chat.each(chat.complete, map(str, range(500))))
        assert len(server.requests) < 100


# ------------------------------------------------------------------ refusals


def test_nobody_is_there() -> None:
    with Chat(Endpoint("http://127.0.0.1:9/v1", "tiny", max_retries=0)) as chat, pytest.raises(ChatError) as raised:
        chat.ask(HELLO)
    assert str(raised.value).startswith(
        "http://127.0.0.1:9/v1 cannot be reached ([Errno 111] Connection refused): start"
    )


def test_a_model_that_the_server_does_not_have(server: FakeChat) -> None:
    error = refusal(server, model="tyni")
    assert str(error).endswith("it has no model 'tyni'; it has tiny")
    server.fault = lambda _, request: Fault(404) if "chat" in request.path else None
    assert "it has the model 'tiny', but not this path: check base_url" in str(refusal(server))
    server.fault = lambda *_: Fault(404)
    assert str(refusal(server)).endswith("check base_url (it mostly ends in /v1) and model = 'tiny'")


def test_a_prompt_that_is_too_long(server: FakeChat) -> None:
    said = "This model's maximum context length is 512 tokens. However, your prompt contains at least 513 input tokens"
    server.fault = lambda *_: Fault(400, json.dumps({"object": "error", "message": said}))
    error = refusal(server)
    assert error.kind == "context"
    assert "512 tokens" in str(error)
    assert str(error).endswith("serve the model with a longer context")


MALFORMED = {
    "cut off": '{"choices": [{"mess',
    "another page": "<!doctype html><title>Welcome</title>",
    "a list": "[]",
    "deep": "[" * 100_000,
    "no choices": '{"object": "chat.completion"}',
    "empty choices": '{"choices": []}',
    "no message": '{"choices": [{"index": 0}]}',
    "a message that is none": '{"choices": [{"message": "yes"}]}',
    "a text that is none": '{"choices": [{"message": {"content": 7}}]}',
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED)
def test_an_answer_that_is_none(server: FakeChat, text: str) -> None:
    server.fault = lambda *_: Fault(text=text)
    error = refusal(server)
    assert error.kind == "malformed"
    assert "base_url must be that of an OpenAI-compatible API" in str(error)
    assert len(str(error)) < 700


# ------------------------------------------------------------------ keys


def test_a_server_that_asks_for_a_key(server: FakeChat, monkeypatch: pytest.MonkeyPatch) -> None:
    server.key = KEY
    assert "it asks for a key: put it into an environment variable" in str(refusal(server))
    assert "variable NOT_SET, which api_key_env names, is not set" in str(refusal(server, api_key_env="NOT_SET"))
    monkeypatch.setenv("SOME_KEY", f"{KEY}\n")
    assert "holds a blank, a line break or another character" in str(refusal(server, api_key_env="SOME_KEY"))
    monkeypatch.setenv("SOME_KEY", KEY[::-1])
    error = refusal(server, api_key_env="SOME_KEY")
    assert "the key in SOME_KEY is not taken" in str(error)
    assert "Bearer (hidden)" in str(error)
    assert KEY[::-1] not in str(error)
    monkeypatch.setenv("SOME_KEY", KEY)
    assert asked(server, api_key_env="SOME_KEY").text == "yes"


@pytest.mark.parametrize("status", [200, 400, 401, 404, 429, 500])
def test_a_key_that_a_server_repeats_is_not_repeated(
    server: FakeChat, status: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("SOME_KEY", KEY)
    server.answer = lambda _: f"your key is {KEY}"
    if status != 200:
        server.fault = lambda *_: Fault(status, json.dumps({"error": {"message": f"{KEY}", "code": KEY}}))
    try:
        seen = repr(asked(server, api_key_env="SOME_KEY", max_retries=0))
    except ChatError as error:
        seen = f"{error!r} {error.said} {error.__cause__!r}"
    assert "(hidden)" in seen
    assert KEY not in seen + caplog.text


ODD_KEY = 'abc/def+ghi"jkl'
AS_JSON = {
    "as it stands": 'abc/def+ghi\\"jkl',
    "as PHP writes it": r"abc\/def+ghi\"jkl",
    "by number": r"abc\u002fdef\u002Bghi\u0022jkl",
    "whole by number": "".join(f"\\u{ord(sign):04x}" for sign in ODD_KEY),
    "JSON in JSON": r"abc\\\/def\\u002bghi\\\"jkl",
}


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("case", AS_JSON)
def test_a_key_is_known_however_json_writes_it(
    server: FakeChat, case: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", ODD_KEY)
    said = f'"say \\n{AS_JSON[case]}."'
    server.fault = lambda *_: Fault(
        status, f'{{"choices": [{{"text": {said}}}]}}' if status == 200 else f'{{"error": {{"message": {said}}}}}'
    )
    if status == 200:
        assert asked(server, api_key_env="SOME_KEY").text == "say \n(hidden)."
    else:
        assert "answered with 400 (say (hidden).)" in str(refusal(server, api_key_env="SOME_KEY"))


REFUSED_SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "a key": ({"api_key": KEY}, "a key in a job file is not taken: put the key into an environment variable"),
    "a key for a name": ({"api_key_env": KEY}, "expected the name of an environment variable, in capitals"),
    "a key in the address": ({"base_url": f"https://user:{KEY}@host/v1"}, "an address with a name or password in it"),
    "a key in the body": ({"extra_body": {"api_key": KEY}}, "holds what is called like a key"),
    "a key deep in the body": (
        {"extra_body": {"metadata": [{"api_key": KEY}]}},
        "holds what is called like a key",
    ),
}


@pytest.mark.parametrize("case", REFUSED_SETTINGS)
def test_a_key_in_a_job_file_is_refused_and_not_repeated(case: str) -> None:
    content, message = REFUSED_SETTINGS[case]
    reader = Reader(Path("a.modelcheck.toml"), {})
    assert reader.table(Table(Endpoint, ENDPOINT_KEYS), content, ("job",)) is None
    [(_, told)] = reader.errors
    assert message in told
    assert KEY not in told


def test_a_schema_may_have_a_field_that_is_called_like_a_key() -> None:
    body = {"guided_json": {"type": "object", "properties": {"key": {"type": "string"}}, "required": ["key"]}}
    content = {"base_url": "http://127.0.0.1:9/v1", "model": "m", "extra_body": body}
    endpoint = Reader(Path("a.modelcheck.toml"), {}).table(Table(Endpoint, ENDPOINT_KEYS), content, ("job",))
    assert endpoint
    assert endpoint.extra_body == body
