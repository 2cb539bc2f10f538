"""Before anything is spent: the engine's own server is asked, by the engine, in the interpreter that it will have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from fakechat import FakeChat, Fault
from finetuning import BASE
from test_arm_endpoint import Here, job

from modelcheck.finetune import preflight, stages
from modelcheck.finetune.chat import Endpoint
from modelcheck.finetune.chat.abilities import WORD
from modelcheck.finetune.job import OpenAi, Serve
from modelcheck.finetune.work import Work

KEY = "sk-Zq8vQ1-do-not-tell"
EVERYTHING = dict.fromkeys((*preflight.TRAINING, *preflight.EVALUATING["openai"]), "999")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeChat]:
    """A server that loads any folder, and asks for a key."""
    monkeypatch.setenv("ENGINE_KEY", KEY)
    with FakeChat(key=KEY, known=(str(BASE),)) as running:
        yield running


def problems(folder: Path, url: str, serve: Serve | None = None, **changes: Any) -> list[str]:
    here: Any = Here()
    here.versions = EVERYTHING
    plain = job(folder)
    server = OpenAi(Endpoint(url, "{model}", "ENGINE_KEY", max_retries=0), serve)
    asked = replace(plain.eval, backend="openai", openai=server, template_args={}, **changes)
    try:
        with closing(Work(replace(plain, eval=asked), here, lambda _: None)) as work:
            return preflight.problems(work, cast("Any", here), cast("Any", here))
    finally:
        stages.close()


def test_a_server_that_answers_is_asked_for_the_base(server: FakeChat, tmp_path: Path) -> None:
    assert problems(tmp_path, server.url) == []
    # One question is for a model that nobody has.
    assert Counter(body["model"] for body in server.asked())[f"{BASE}/{WORD}"] == 1
    assert {body["model"] for body in server.asked()} == {str(BASE), f"{BASE}/{WORD}"}
    assert server.asked()[-1]["messages"] == list(preflight.TRIAL.prompt)


WRONG: Mapping[str, tuple[str, Mapping[str, Any], str]] = {
    "another key": ("sk-of-somebody-else", {}, "the key in ENGINE_KEY is not taken: check it"),
    "no such model": (KEY, {"known": ("other",)}, f"it has no model '{BASE}'; it has other"),
    "a parameter": (KEY, {"unknown": ("temperature",)}, "leave out what it does not take, or correct it"),
    "another prompt": (KEY, {"render": lambda *_: [1]}, "the server renders another prompt than training did"),
    "one model for any name": (KEY, {"known": None}, "it has one model whatever name a request gives, and base and"),
    "one model for any name, and no max_tokens": (
        KEY,
        {"known": None, "unknown": ("max_tokens",)},
        f"answers for the model '{BASE}/{WORD}', which is not there",
    ),
    "down": (KEY, {"fault": lambda *_: Fault(503)}, "was answered with 503 (a fault)"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_would_end_the_first_evaluation_is_told(
    case: str, server: FakeChat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, changes, said = WRONG[case]
    monkeypatch.setenv("ENGINE_KEY", key)
    for field, setting in changes.items():
        setattr(server, field, setting)
    [problem] = problems(tmp_path, server.url)
    assert problem.startswith("eval.openai: generate: ")
    assert said in problem
    assert key not in problem


def test_a_server_that_is_gone_is_named(server: FakeChat, tmp_path: Path) -> None:
    [problem] = problems(tmp_path, "http://127.0.0.1:9/v1")
    assert problem.startswith("eval.openai: generate: http://127.0.0.1:9/v1 cannot be reached (")


def test_what_cannot_be_asked_yet_is_not(server: FakeChat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert problems(tmp_path, server.url, Serve(("true", "{model}", "{port}"))) == []
    [absent] = problems(tmp_path, server.url, Serve(("no-such-server", "{model}", "{port}")))
    assert absent == "eval.openai.serve: 'no-such-server' is no program: name one that is there"
    monkeypatch.setenv("ENGINE_KEY", "")
    [unset] = problems(tmp_path, server.url)
    assert "the environment variable ENGINE_KEY, which api_key_env names, is not set" in unset
    assert server.requests == []
