"""An arm whose answers come from a server: how it is asked, what is held equal, and what is kept of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from fakechat import FakeChat, Fault
from finetuning import BASE

from modelcheck.finetune import arms, resolved, stages, verdicts
from modelcheck.finetune.chat import Endpoint
from modelcheck.finetune.job import Arm, Eval, Generation, Job, OpenAi, Scorer, Suite
from modelcheck.finetune.job_rows import Data, Rows
from modelcheck.finetune.pairing import NotComparable, check_manifests
from modelcheck.finetune.protocol import StageError
from modelcheck.finetune.refusals import StageFailed
from modelcheck.finetune.stage import Done, Failed
from modelcheck.finetune.steps import Steps
from modelcheck.finetune.work import Work

KEY = "sk-Zq8vQ1-do-not-tell"
NUMBERS = [str(number) for number in range(30)]
TARGET = Suite("skill", "target", "eval", Scorer("exact"), min_gain=0.3)


class Here:
    """A worker in this process. It answers for the base by itself, and leaves servers to the real stage."""

    def __init__(self) -> None:
        self.versions: Mapping[str, str] = {"transformers": "5"}

    def of(self, *_: object) -> Here:
        return self

    def start(self, _: str) -> None:
        return None

    def ask(self, request: Mapping[str, Any], _: float, hear: Any = lambda _: None) -> Done | Failed:
        asked = json.loads(json.dumps(request))
        if asked["engine"]["backend"] == "transformers":
            hear({"event": "loaded", "weights": "abc"})
            answers = [{"key": key, "ids": [5], "text": "no idea", "finish": "stop"} for key in asked["prompts"]]
            hear({"event": "batch", "answers": answers, "done": len(answers), "total": len(answers)})
            return Done(None, 0.0)
        try:
            return Done(stages.generate(asked, lambda event, **data: hear({"event": event, **data})), 0.0)
        except StageError as error:
            return Failed("generate", "refused", str(error))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeChat]:
    """A server that repeats the last word, and asks for a key."""
    monkeypatch.setenv("HOSTED_KEY", KEY)
    with FakeChat(answer=lambda body: body["messages"][-1]["content"].split()[-1], key=KEY) as running:
        yield running


def hosted(url: str, **others: Any) -> Arm:
    return Arm("hosted", openai=OpenAi(Endpoint(url, "tiny", "HOSTED_KEY", max_retries=0)), **others)


def job(folder: Path, *others: Arm) -> Job:
    for name, words in {"train": NUMBERS[:10], "eval": NUMBERS[10:]}.items():
        rows = [{"question": f"Say {word}", "answer": word, "passage": f"Page {word}."} for word in words]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = {"prompt": "question", "answer": "answer"}
    train, held_out = (Rows(folder / f"{name}.jsonl", columns=columns) for name in ("train", "eval"))
    answering = Eval(gen=Generation(max_tokens=16), template_args={"enable_thinking": False})
    file = folder / "modelcheck.toml"
    return Job("tiny", file, 1, str(BASE), Data(train, held_out), (TARGET,), others, eval=answering)


@pytest.fixture
def work(tmp_path: Path, server: FakeChat) -> Iterator[Work]:
    """A job with an arm that changes everything, and one that is the model alone."""
    here: Any = Here()
    arm = hosted(server.url, system="Be brief.", shots=1, context="passage")
    plain = replace(hosted(server.url), name="plain")
    with closing(Work(job(tmp_path, arm, plain), here, lambda _: None)) as made:
        yield made
    stages.close()


def test_it_is_asked_by_messages_as_the_arm_says_and_nothing_of_the_base_goes_with_them(
    work: Work, server: FakeChat
) -> None:
    arm = work.job.arms[0]
    run = work.arm_run(arm, TARGET)
    put = [body for body in server.asked() if body["messages"][0]["content"] == "Be brief."]
    roles = {tuple(message["role"] for message in body["messages"]) for body in put}
    assert roles == {("system", "user", "assistant", "user")}
    asked = {body["messages"][-1]["content"] for body in put}
    assert asked == {f"Page {word}.\n\nSay {word}" for word in NUMBERS[10:]}
    assert not any(body.keys() & {"chat_template_kwargs", "stop_token_ids"} for body in put)
    assert {body["max_tokens"] for body in put} == {16}
    assert {(sample.score, sample.prompt_ids) for sample in run.samples()} == {(1.0, ())}


def test_what_it_reaches_is_told_before_training_and_held_against_it_afterwards(work: Work) -> None:
    outcome = Steps(work, lambda: ()).by_name()["arm-hosted"]()
    assert outcome.verdict == "warn"
    gain = "training may not be needed: skill: the arm hosted gains +1.000 (0.000 to 1.000 on 20 items"
    assert outcome.message.startswith(gain)
    assert "answer: not told by the server with the arm, " in outcome.message
    assert "prompt ids not checked: another model than the job's" in outcome.details
    arm, base = work.job.arms[0], work.base_run(TARGET)
    others = [(arm, work.arm_run(arm, TARGET))]
    after = verdicts.of_suite(TARGET, base, [base], verdicts.policy(work.job), (), None, others)
    assert [(r.metric, str(r.verdict)) for r in after.results] == [("score", "FAIL"), ("vs hosted", "FAIL")]
    assert "training did worse than the arm hosted" in after.message


def test_all_but_the_model_and_who_runs_it_is_held_equal(work: Work) -> None:
    arm, base = work.job.arms[0], work.base_run(TARGET).manifest
    made = work.arm_run(arm, TARGET).manifest
    assert (made["weights"], made["stop_ids"], made["engine"]["backend"]) == (None, [], "openai")
    for field in ("items", "scorer", "gen"):
        with pytest.raises(NotComparable, match=field):
            check_manifests({**base, field: "another"}, made, arms.differing(arm))
    with pytest.raises(NotComparable, match=r"engine\.backend"):
        check_manifests(base, made, arms.differing(Arm("larger", model="a")))


def test_its_answers_are_kept_by_what_it_is_asked(work: Work, server: FakeChat) -> None:
    arm, plain = work.job.arms
    first, other = (work.arm_run(each, TARGET).path for each in (arm, plain))
    assert first != other
    asked, here = len(server.requests), cast("Any", Here())
    with closing(Work(work.job, here, lambda _: None)) as again:
        assert again.arm_run(arm, TARGET).path == first
    assert len(server.requests) == asked


def test_its_key_stands_in_no_file(work: Work, server: FakeChat, tmp_path: Path) -> None:
    arm = work.job.arms[0]
    server.answer = lambda body: f"{body['messages'][-1]['content'].split()[-1]} {KEY}"
    work.arm_run(arm, TARGET)
    (tmp_path / "config.resolved.toml").write_text(resolved.toml(work.job))
    texts = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert any("(hidden)" in text for text in texts)
    assert any("HOSTED_KEY" in text for text in texts)
    assert not any(KEY in text for text in texts)


# ------------------------------------------------------------------ before anything is asked


def test_preflight_asks_it_once(tmp_path: Path, server: FakeChat) -> None:
    assert [*arms.problems(job(tmp_path, hosted(server.url)))] == []
    assert len(server.asked()) == 1


WRONG = {
    "unset": ({"HOSTED_KEY": ""}, {}, "the environment variable HOSTED_KEY, which api_key_env names, is not set"),
    "another key": ({"HOSTED_KEY": "sk-of-somebody-else"}, {}, "the key in HOSTED_KEY is not taken"),
    "no such model": ({}, {"known": ("other",)}, "it has no model 'tiny'; it has other"),
    "not taken": ({}, {"unknown": ("temperature",)}, "leave out what it does not take, or correct it"),
}


@pytest.mark.parametrize("case", WRONG)
def test_preflight_names_what_is_wrong_with_it(
    case: str, tmp_path: Path, server: FakeChat, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment, changes, said = WRONG[case]
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for field, setting in changes.items():
        setattr(server, field, setting)
    [problem] = arms.problems(job(tmp_path, hosted(server.url)))
    assert problem.startswith("arm hosted.openai: ")
    assert said in problem
    assert "\n" not in problem
    assert KEY not in problem


def test_a_server_that_is_down_fails_preflight_and_the_arm_alone(work: Work, server: FakeChat) -> None:
    work.base_run(TARGET)
    server.fault = lambda *_: Fault(503, headers={"x-should-retry": "false"})
    problem, _ = arms.problems(work.job)
    assert problem.startswith(f"arm hosted.openai: {server.url}: chat/completions was answered with 503 (a fault)")
    with pytest.raises(StageFailed) as raised:
        work.arm_run(work.job.arms[0], TARGET)
    assert str(raised.value).startswith(f"generate: {server.url}: chat/completions was answered with 503 (a fault)")
    assert raised.value.findings == ()


def test_a_server_that_is_gone_is_named(tmp_path: Path, server: FakeChat) -> None:
    gone = "http://127.0.0.1:9/v1"
    [problem] = arms.problems(job(tmp_path, hosted(gone)))
    assert problem.startswith(f"arm hosted.openai: {gone} cannot be reached (")
    assert server.requests == []
