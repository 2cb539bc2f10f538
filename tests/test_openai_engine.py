"""The engine that asks a server: what it sends, what it finds out of the server, and what it does not take from it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fakechat import COMPLETIONS, FakeChat, Fault
from finetuning import BASE, conversations

from modelcheck.finetune.chat import Chat, Endpoint
from modelcheck.finetune.chat.abilities import WORD, Probe
from modelcheck.finetune.engines.answer import Answer, Prompt
from modelcheck.finetune.engines.openai import Engine
from modelcheck.finetune.job import Generation
from modelcheck.finetune.prompts import Prompts
from modelcheck.finetune.protocol import StageError

QUESTIONS = [chat[:1] for chat in conversations("train", 6)]
GREEDY = Generation(max_tokens=16)
HOT = Generation(temperature=0.7, max_tokens=16)
END = 2
# What transformers serve knows of a request.
STRANGE = ("top_k", "min_p", "repetition_penalty", "repeat_penalty", "stop_token_ids", "skip_special_tokens")
Ids = Callable[[Any], list[int]]


def rendered() -> Ids:
    """The prompt of a conversation, as the job makes it."""
    with Prompts(BASE) as made:
        known = dict(zip(map(json.dumps, QUESTIONS), made.ids(QUESTIONS), strict=True))
    return lambda messages: known.get(json.dumps(messages), [1, 2, 3])


@pytest.fixture(scope="module")
def ids() -> Ids:
    return rendered()


@pytest.fixture
def server(ids: Ids) -> Iterator[FakeChat]:
    """A server that takes messages only, counts its prompts, and says no more."""
    with FakeChat(render=lambda messages, _: ids(messages)) as running:
        yield running


@pytest.fixture
def vllm(server: FakeChat) -> FakeChat:
    """A server with everything that vLLM has."""
    server.takes_ids = server.tokenizes = True
    server.answer = _as_vllm
    return server


def _as_vllm(body: dict[str, Any]) -> Any:
    if "structured_outputs" in body:
        return WORD
    if "response_format" in body:
        return json.dumps({"word": WORD})
    told: dict[str, Any] = {"token_ids": [40, 41, END]} if body.get("return_token_ids") else {}
    told |= {"logprobs": {"content": [{"logprob": -0.1}]}} if body.get("logprobs") else {}
    if "prompt" in body:
        return {"text": "ab", "prompt_token_ids": body["prompt"], **told}
    return {"message": {"content": "ab"}, **told}


def answered(
    server: FakeChat, ids: Ids, gen: Generation = GREEDY, folder: Path | None = BASE, **options: Any
) -> tuple[dict[str, Answer], Mapping[str, Any]]:
    endpoint = {"base_url": server.url, "model": "tiny", "max_retries": 0, "timeout": 10.0}
    prompts = {str(number): Prompt(ids(messages), messages) for number, messages in enumerate(QUESTIONS)}
    with closing(Engine(str(folder) if folder else None, "float32", endpoint, **options)) as engine:
        found = {answer.key: answer for batch in engine.answers(prompts, gen, [END]) for answer in batch}
    assert found.keys() == prompts.keys()
    return found, engine.identity


def refused(server: FakeChat, ids: Ids, gen: Generation = GREEDY, **options: Any) -> str:
    with pytest.raises(StageError) as raised:
        answered(server, ids, gen, **options)
    return str(raised.value)


# ------------------------------------------------------------------ prompts


def test_a_server_that_takes_ids_is_sent_ids(vllm: FakeChat, ids: Ids) -> None:
    found, identity = answered(vllm, ids)
    assert identity["prompts"] == {"sent": "ids", "checked": "ids"}
    assert identity["answer_ids"] == "the server's"
    assert identity["notes"] == []
    assert {(*answer.ids, answer.finish) for answer in found.values()} == {(40, 41, "stop")}
    assert {tuple(body["prompt"]) for body in vllm.asked(COMPLETIONS)} == {tuple(ids(chat)) for chat in QUESTIONS}


def test_ids_that_come_back_other_than_they_went_are_not_trusted(vllm: FakeChat, ids: Ids) -> None:
    def with_bos(body: dict[str, Any]) -> Any:
        made = _as_vllm(body)
        return {**made, "prompt_token_ids": [1, *body["prompt"]]} if "prompt" in body else made

    vllm.answer = with_bos
    assert answered(vllm, ids)[1]["prompts"]["sent"] == "messages"


def test_messages_are_compared_token_by_token(server: FakeChat, ids: Ids) -> None:
    server.tokenizes = True
    _, identity = answered(server, ids)
    assert identity["prompts"] == {"sent": "messages", "checked": "ids"}
    assert identity["notes"] == []
    server.render = lambda messages, body: [*ids(messages)[:3], 7, *ids(messages)[4:]]
    message = refused(server, ids)
    assert "the server renders another prompt than training did" in message
    ours = ids(QUESTIONS[0])[3]
    assert "at token 3 " in message
    assert f"(7) for {_decoded(ours)!r} ({ours}); serve it with the chat template" in message
    server.render = lambda messages, _: ids(messages)[:-1]
    assert f"at token {len(ids(QUESTIONS[0])) - 1} the end for" in refused(server, ids)


def _decoded(token: int) -> str:
    from transformers import AutoTokenizer

    return str(AutoTokenizer.from_pretrained(BASE).decode([token]))


def test_without_a_way_to_compare_ids_lengths_are_and_it_is_said(server: FakeChat, ids: Ids) -> None:
    found, identity = answered(server, ids)
    assert identity["prompts"] == {"sent": "messages", "checked": "lengths"}
    assert identity["notes"][0].startswith("prompt ids not checked: the server has no /tokenize")
    assert {answer.text for answer in found.values()} == {"yes"}
    server.render = lambda messages, _: [1, *ids(messages)]
    expected = len(ids(QUESTIONS[0])) + 1
    assert f"it has {expected} tokens there" in refused(server, ids)


def test_a_tokenize_that_finds_nothing_in_messages_is_none(server: FakeChat, ids: Ids) -> None:
    server.tokenizes = True
    server.render = lambda messages, body: [] if "add_generation_prompt" in body else ids(messages)
    _, identity = answered(server, ids)
    assert identity["prompts"] == {"sent": "messages", "checked": "lengths"}
    assert identity["notes"][0].startswith("prompt ids not checked: the server has no /tokenize for messages")


def test_what_chat_clients_would_get_is_said_of_a_server_that_was_sent_ids(vllm: FakeChat, ids: Ids) -> None:
    vllm.render = lambda messages, _: [END, *ids(messages)]
    [note] = answered(vllm, ids)[1]["notes"]
    assert note.startswith("the server's own chat template makes another prompt than training did: at token 0 ")


QUIET = {"enable_thinking": False}


def heeding(ids: Ids) -> Callable[[list[dict[str, Any]], dict[str, Any]], list[int]]:
    """Prompts that end in a token more, unless the request's arguments of the template say that they shall not."""

    def render(messages: list[dict[str, Any]], body: dict[str, Any]) -> list[int]:
        return [*ids(messages), *[9] * (body.get("chat_template_kwargs", {}).get("enable_thinking", True))]

    return render


@pytest.mark.parametrize("tokenizes", [False, True])
def test_arguments_of_the_template_go_to_a_server_that_heeds_them(server: FakeChat, ids: Ids, tokenizes: bool) -> None:
    server.render, server.tokenizes = heeding(ids), tokenizes
    _, identity = answered(server, ids, template_args=QUIET)
    assert all(body["chat_template_kwargs"] == QUIET for body in server.asked()[-6:])
    assert identity["abilities"]["chat_template_kwargs"] is True
    assert not [note for note in identity["notes"] if "template_args" in note]
    server.unknown = ["chat_template_kwargs"]
    said = "refuses chat_template_kwargs, which this job" if tokenizes else "does not heed chat_template_kwargs"
    assert f"the server {said}" in refused(server, ids, template_args=QUIET)


@pytest.mark.parametrize("tokenizes", [False, True])
def test_a_server_that_ignores_arguments_of_the_template_ends_it(server: FakeChat, ids: Ids, tokenizes: bool) -> None:
    server.tokenizes = tokenizes
    server.render = lambda messages, _: [*ids(messages), 9]
    message = refused(server, ids, template_args=QUIET)
    assert 'does not heed chat_template_kwargs, so eval.template_args = {"enable_thinking": false} does not' in message


@pytest.mark.parametrize("counts", [True, False], ids=["as ours under any value", "no usage"])
def test_arguments_that_cannot_be_seen_to_be_heeded_are_noted(server: FakeChat, ids: Ids, counts: bool) -> None:
    server.render = server.render if counts else None
    _, identity = answered(server, ids, template_args=QUIET)
    assert identity["abilities"]["chat_template_kwargs"] is None
    assert "template_args not checked: whether the server heeds chat_template_kwargs" in identity["notes"][1]


def test_without_arguments_a_customary_one_shows_what_the_server_does(server: FakeChat, ids: Ids) -> None:
    server.render = lambda messages, body: [*ids(messages), *[9] * ("chat_template_kwargs" in body)]
    assert answered(server, ids)[1]["abilities"]["chat_template_kwargs"] is None
    server.render = lambda messages, body: [*ids(messages), *[9] * ("True" in str(body.get("chat_template_kwargs")))]
    _, identity = answered(server, ids)
    assert identity["abilities"]["chat_template_kwargs"] is True
    assert [note for note in identity["notes"] if "template_args" in note] == []


def test_another_model_than_the_jobs_goes_by_its_own_prompts(vllm: FakeChat, ids: Ids) -> None:
    vllm.render = lambda *_: [9]
    found, identity = answered(vllm, ids, folder=None)
    # Its ids would be read with the job's tokenizer.
    assert {(answer.text, *answer.ids) for answer in found.values()} == {("ab",)}
    assert found["0"].counted == {"read": 1, "written": None}
    assert "tokenizer" not in identity
    assert identity["prompts"] == {"sent": "messages", "checked": "nothing"}
    assert identity["notes"] == ["prompt ids not checked: another model than the job's"]
    assert vllm.asked(COMPLETIONS) == []


# ------------------------------------------------------------------ parameters


def test_every_parameter_is_in_every_request(server: FakeChat, ids: Ids) -> None:
    answered(server, ids)
    for body in server.asked()[-6:]:
        body.pop("messages")
        assert body == {
            "model": "tiny", "temperature": 0.0, "top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0,
            "repeat_penalty": 1.0, "frequency_penalty": 0.0, "presence_penalty": 0.0, "max_tokens": 16,
            "stop_token_ids": [2], "skip_special_tokens": False, "return_token_ids": True,
        }  # fmt: skip


def test_a_seed_belongs_to_the_item(server: FakeChat, ids: Ids) -> None:
    answered(server, ids, HOT)
    seeds = [body["seed"] for body in server.asked()[-6:]]
    answered(server, ids, HOT)
    assert sorted(body["seed"] for body in server.asked()[-6:]) == sorted(seeds)
    assert len(set(seeds)) == 6


def test_fields_that_are_refused_are_left_out_and_named(server: FakeChat, ids: Ids) -> None:
    server.unknown = STRANGE
    _, identity = answered(server, ids)
    assert set(STRANGE) <= set(identity["refused"])
    assert "generation_config" in identity["pinned"]
    assert json.loads(identity["pinned"]["generation_config"])["repetition_penalty"] == 1.0


CLOSED = (*STRANGE, "generation_config")


def test_what_cannot_be_pinned_and_matters_ends_it(server: FakeChat, ids: Ids, tmp_path: Path) -> None:
    server.unknown = CLOSED
    answered(server, ids)  # the likeliest token is the likeliest under any top_k
    notes = answered(server, ids, HOT)[1]["notes"]
    assert "top_k is refused by the server: its own default holds" in notes
    sampled = Generation(temperature=0.7, top_k=20, max_tokens=16)
    assert "the server refuses top_k: leave gen.top_k out" in refused(server, ids, sampled)
    folder = tmp_path / "base"
    shutil.copytree(BASE, folder)
    (folder / "generation_config.json").write_text('{"repetition_penalty": 1.3, "eos_token_id": 2}')
    message = refused(server, ids, folder=folder)
    assert "refuses repetition_penalty in a request, and the checkpoint's generation_config.json says 1.3" in message


def test_what_is_taken_and_not_heeded_ends_it_or_is_said(server: FakeChat, ids: Ids) -> None:
    def deaf(body: dict[str, Any]) -> str:
        return "likeliest" if body["temperature"] == 0 else "drawn"

    def heeding(body: dict[str, Any]) -> str:
        alone = body.get("top_k") == 1 or body.get("min_p") == 1 or body.get("top_p", 1) < 0.01
        return "likeliest" if alone else deaf(body)

    sampled = Generation(temperature=0.7, top_k=20, max_tokens=16)
    server.answer = heeding
    assert answered(server, ids, sampled)[1]["notes"][1:] == []
    server.answer = deaf
    assert "the server takes top_k and does not heed it: leave gen.top_k out" in refused(server, ids, sampled)
    notes = answered(server, ids, HOT)[1]["notes"]
    assert "top_k is ignored by the server: its own default holds" in notes
    penalised = Generation(repetition_penalty=1.2, max_tokens=16)
    assert "takes repetition_penalty and does not heed it" in refused(server, ids, penalised)


def test_a_server_that_draws_without_the_seed_is_named(server: FakeChat, ids: Ids) -> None:
    server.answer = lambda body: f"drawn {len(server.requests)}" if body["temperature"] else "likeliest"
    assert any(note.startswith("seed is ignored") for note in answered(server, ids, HOT)[1]["notes"])


def test_the_newer_name_of_max_tokens_is_found(server: FakeChat, ids: Ids) -> None:
    said = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    server.fault = lambda _, r: Fault(400, json.dumps({"error": {"message": said}})) if "max_tokens" in r.body else None
    answered(server, ids)
    assert all(body["max_completion_tokens"] == 16 for body in server.asked()[-6:])


# ------------------------------------------------------------------ abilities


NOTHING = {"logprobs": False, "json_schema": False, "grammar": False, "token_ids": False, "chat_template_kwargs": None}
EVERYTHING = {"logprobs": True, "json_schema": True, "grammar": "structured_outputs", "token_ids": True}


def test_abilities_are_seen_and_not_believed(server: FakeChat, ids: Ids) -> None:
    assert answered(server, ids)[1]["abilities"] == NOTHING
    server.answer, server.render = _as_vllm, heeding(ids)
    assert answered(server, ids, template_args=QUIET)[1]["abilities"] == {**EVERYTHING, "chat_template_kwargs": True}


@pytest.mark.parametrize("unknown", [["max_tokens"], ["temperature"], ["temperature", "max_tokens"]])
def test_a_refused_length_or_temperature_is_no_lack_of_abilities(server: FakeChat, unknown: list[str]) -> None:
    server.answer, server.unknown = _as_vllm, unknown
    assert abilities(server) == EVERYTHING
    assert not any(body.keys() & {*unknown} for body in server.asked()[len(unknown) :])


def test_what_was_refused_is_kept_apart_from_what_could_not_be_asked(server: FakeChat) -> None:
    lacking = ("logprobs", "response_format", "structured_outputs", "grammar", "ebnf", "return_token_ids")
    server.answer, server.unknown = _as_vllm, lacking
    assert abilities(server) == dict.fromkeys(EVERYTHING, False)
    server.unknown = ["messages"]
    assert abilities(server) == dict.fromkeys(EVERYTHING)
    server.unknown = []
    server.fault = lambda _, request: Fault(500) if "structured_outputs" in request.body else None
    assert abilities(server)["grammar"] is False  # of two ways it is known
    server.fault = lambda number, request: Fault(500) if request.body.get("logprobs") else None
    assert abilities(server) == {**EVERYTHING, "logprobs": None}


def abilities(server: FakeChat) -> dict[str, Any]:
    with Chat(Endpoint(server.url, "tiny", max_retries=0)) as chat:
        return Probe(chat.ask).abilities()


@pytest.mark.parametrize(("text", "held"), [('{ "word":\n\n', True), ("", False), ("The word is: {", False)])
def test_a_schema_is_held_to_by_a_weak_model_too(server: FakeChat, ids: Ids, text: str, held: bool) -> None:
    server.answer = lambda body: text if "response_format" in body else "yes"
    assert answered(server, ids)[1]["abilities"]["json_schema"] is held


@pytest.mark.parametrize("unknown", [(), ("structured_outputs",)], ids=["ignores the others", "refuses one"])
@pytest.mark.parametrize("field", ["grammar", "ebnf"], ids=["llama.cpp", "SGLang"])
def test_a_grammar_reaches_a_server_that_holds_to_it(
    server: FakeChat, ids: Ids, field: str, unknown: tuple[str, ...]
) -> None:
    text = 'root ::= "a"'
    assert "holds its answers to no grammar" in refused(server, ids, grammar=text)
    server.unknown = unknown
    server.answer = lambda body: WORD if field in body else "yes"
    assert answered(server, ids, grammar=text)[1]["abilities"]["grammar"] == field
    assert all(body[field] == text for body in server.asked()[-6:])
