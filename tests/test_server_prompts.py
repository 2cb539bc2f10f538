"""A `/tokenize` that fails shows nothing of a server's prompts, and is said not to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from fakechat import FakeChat, Fault, Request

from modelcheck.finetune.chat import Chat, Endpoint
from modelcheck.finetune.engines.answer import Prompt
from modelcheck.finetune.engines.rendering import Rendering

PROMPTS = [Prompt([1, number], ({"role": "user", "content": str(number)},)) for number in range(6)]
FAILED = "the server's /tokenize failed ("


@pytest.fixture
def server() -> Iterator[FakeChat]:
    """It makes the right prompts."""
    with FakeChat(render=lambda messages, _: [1, int(messages[0]["content"])], tokenizes=True) as running:
        yield running


@pytest.fixture
def rendering(server: FakeChat) -> Iterator[Rendering]:
    with ExitStack() as stack:
        yield Rendering(stack.enter_context(Chat(Endpoint(server.url, "tiny", max_retries=0))), {}, tokenizer=None)


def test_a_server_that_says_under_200_that_it_has_no_such_path_is_asked_once(server: FakeChat) -> None:
    server.fault = lambda *_: Fault(text='{"error": "Unexpected endpoint or method. (POST /tokenize)"}')
    with Chat(Endpoint(server.url, "tiny")) as chat:
        checked, [note] = Rendering(chat, {}, tokenizer=None).compare(PROMPTS[:1], None)
    assert (checked, len(server.requests)) == ("lengths", 1)
    assert note.startswith("prompt ids not checked: the server has no /tokenize")


def test_prompts_that_could_not_be_read_back_are_counted(server: FakeChat, rendering: Rendering) -> None:
    assert rendering.compare(PROMPTS, None) == ("ids", [])

    def fault(_: int, request: Request) -> Fault | None:
        return Fault(500) if request.body["messages"][0]["content"] in "245" else None

    server.fault = fault
    checked, [note] = rendering.compare(PROMPTS, None)
    # Lengths are what is left to hold them against.
    assert checked == "lengths"
    assert note.startswith(f"the ids of 3 of 6 prompts not checked: {FAILED}")
    assert note.endswith("); where it tells lengths they agree")


def test_a_failure_at_the_first_is_no_lack_of_the_path(server: FakeChat, rendering: Rendering) -> None:
    server.fault = lambda *_: Fault(500)
    checked, [note] = rendering.compare(PROMPTS, None)
    assert checked == "lengths"
    assert note.startswith(f"prompt ids not checked: {FAILED}")
    server.fault = lambda *_: Fault(404)
    _, [note] = rendering.compare(PROMPTS, None)
    assert note.startswith("prompt ids not checked: the server has no /tokenize for messages; ")


def test_what_chat_clients_would_get_is_not_taken_for_seen(server: FakeChat, rendering: Rendering) -> None:
    assert rendering.notes(PROMPTS) == []
    server.fault = lambda *_: Fault(500)
    [note] = rendering.notes(PROMPTS)
    assert note.startswith(f"what the server's own chat template makes of messages was not seen: {FAILED}")
