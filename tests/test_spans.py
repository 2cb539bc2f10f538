"""`modelcheck render`: whose part of the text is whose, and what would carry loss."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import CONVERSATION, run
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from modelcheck import UsageError, tiny
from modelcheck.render.renderer import Renderer
from modelcheck.show import conversation
from modelcheck.spans import Messages, NoSpans, loss_spans, turns
from modelcheck.testing import write_overlay

TEMPLATES = Path(__file__).parent / "templates"
CORPUS = Path(__file__).parents[2] / "shared" / "corpus" / "templates"
SPECIAL = {"bos_token": "<|bos|>", "eos_token": "<|im_end|>", "pad_token": "<|pad|>"}

HARMONY = (
    "{% for m in messages %}<|start|>{{ m.role }}<|message|>{{ m.content }}"
    "{{ '<|return|>' if loop.last else '<|end|>' }}{% endfor %}"
)
STYLES = {
    "chatml": (tiny.TEMPLATE, "<|im_end|>"),
    "llama": (
        "{{ bos_token }}{% for m in messages %}<|h|>{{ m.role }}<|/h|>\n\n{{ m.content | trim }}<|eot|>{% endfor %}",
        "<|eot|>",
    ),
    "no-terminator": ("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}", ""),
    "last-turn-ends-otherwise": (HARMONY, "<|end|>"),
}


def rendering(template: str) -> tuple[str, list[str], list[str]]:
    """The text of the conversation, each turn's header, and what carries loss."""
    with Renderer() as renderer:

        def ask(messages: Messages) -> str | None:
            answer = renderer.render(template, SPECIAL, [{"messages": list(messages)}])
            text: str | None = answer["outcomes"][0].get("text")
            return text

        found = turns(CONVERSATION, ask)
        text = ask(CONVERSATION) or ""
    spans = loss_spans(found, re.findall(r"<\|[^|]+\|>", text))
    return text, [text[t.start : t.content] for t in found], [text[start:end] for start, end in spans]


@pytest.mark.parametrize("style", STYLES)
def test_an_answer_and_its_terminator_carry_loss_without_a_generation_block(style: str) -> None:
    template, terminator = STYLES[style]
    text, headers, loss = rendering(template)
    assert loss[0] == f"Blue.{terminator}"
    assert loss[1].startswith("Green.")
    assert all("user" in h for h, m in zip(headers, CONVERSATION, strict=True) if m["role"] == "user")
    assert "".join(headers).startswith(text[: len(headers[0])])


def test_a_template_that_drops_a_message_has_no_spans_and_says_so() -> None:
    with pytest.raises(NoSpans, match="leaves out or moves the content of a 'system' message"):
        rendering("{% for m in messages if m.role != 'system' %}{{ m.role }}{{ m.content }}{% endfor %}")


def blocks(template: str, folder: Path) -> tuple[list[int], list[int]]:
    """(our loss mask over tokens, transformers' assistant mask) of the conversation."""
    write_overlay(folder, {"chat_template.jinja": template, "tokenizer_config.json": json.dumps(SPECIAL)})
    shown = conversation(folder, CONVERSATION, {})
    tokenizer: Any = PreTrainedTokenizerFast  # untyped
    tokenizer = tokenizer(tokenizer_object=Tokenizer.from_str(tiny.tokenizer_json()), **SPECIAL)
    theirs: Any = tokenizer.apply_chat_template(
        CONVERSATION, chat_template=template, return_dict=True, return_assistant_tokens_mask=True
    )
    assert shown.tokenizer is not None
    pieces = shown.tokenizer.pieces(shown.text)
    ours = [int(any(a < end and start < b for a, b in shown.loss)) for _, start, end in pieces]
    assert [i for i, _, _ in pieces] == theirs["input_ids"]
    return ours, theirs["assistant_masks"]


def has_block(path: Path) -> bool:
    return re.search(r"\{%-?\s*generation\s*-?%\}", path.read_text()) is not None


@pytest.mark.parametrize("path", [p for p in sorted(TEMPLATES.glob("*.jinja")) if has_block(p)], ids=lambda p: p.stem)
def test_where_a_template_has_generation_blocks_they_are_the_loss(path: Path, tmp_path: Path) -> None:
    ours, theirs = blocks(path.read_text(), tmp_path)
    assert sum(ours) > 0
    assert ours == theirs


@pytest.mark.slow
@pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus is not beside this checkout")
def test_the_blocks_of_every_template_of_the_corpus(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    compared = 0
    for path in filter(has_block, sorted(CORPUS.glob("*.jinja"))):
        try:
            ours, theirs = blocks(path.read_text(), tmp_path / path.stem)
        except UsageError:  # templates that want parts or other roles
            continue
        assert ours == theirs, path.name
        compared += 1
    record_property("figure", f"{compared} templates with generation blocks: spans equal")
    assert compared >= 25


class TestCommand:
    def test_shows_markers_and_what_the_tokenizer_adds(self, tmp_path: Path) -> None:
        result = run("render", str(write_overlay(tmp_path / "tiny", {})))
        assert result.code == 0
        assert "⟦It turns text into numbers.<|im_end|>⟧" in result.stdout
        assert "encoding this text would add nothing" in result.stdout
        assert r"instruction_part = '<|im_start|>user\n'" in result.stdout
        assert r"response_part = '<|im_start|>assistant\n'" in result.stdout

    def test_says_why_there_are_no_spans_and_shows_none(self, tmp_path: Path) -> None:
        dropping = "{% for m in messages if m.role != 'system' %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
        result = run("render", str(write_overlay(tmp_path / "dropping", {"chat_template.jinja": dropping})))
        assert "no spans: the template leaves out" in result.stdout
        assert "carry loss" not in result.stdout

    def test_ids_and_a_conversation_of_ones_own(self, tmp_path: Path) -> None:
        folder = str(write_overlay(tmp_path / "tiny", {}))
        (tmp_path / "chat.json").write_text('[{"role": "user", "content": "the model"}]')
        result = run("render", folder, "--messages", str(tmp_path / "chat.json"), "--ids", "--add-generation-prompt")
        assert "       2   '<|im_start|>'" in result.stdout

    @pytest.mark.parametrize("last", ["user", "assistant"])
    def test_markers_are_those_of_the_template_whatever_the_conversation(self, tmp_path: Path, last: str) -> None:
        """Of one turn alone nobody can say what is a BOS before it, nor where the header of an answer to come ends."""
        folder = str(
            write_overlay(
                tmp_path / "tiny",
                {
                    "chat_template.jinja": "{{ bos_token }}" + tiny.TEMPLATE,
                    "tokenizer_config.json": '{"bos_token": "<|bos|>"}',
                },
            )
        )
        chat = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
        (tmp_path / "chat.json").write_text(json.dumps(chat[: 1 + (last == "assistant")]))
        result = run("render", folder, "--messages", str(tmp_path / "chat.json"), "--add-generation-prompt")
        assert r"instruction_part = '<|im_start|>user\n'" in result.stdout
        assert r"response_part = '<|im_start|>assistant\n'" in result.stdout

    def test_tools_beside_the_messages_are_rendered(self, tmp_path: Path) -> None:
        listing = "{% for tool in tools %}{{ tool.function.name }};{% endfor %}"
        folder = str(write_overlay(tmp_path / "tiny", {"chat_template.jinja": listing + tiny.TEMPLATE}))
        tools = [{"type": "function", "function": {"name": "weather"}}]
        (tmp_path / "chat.json").write_text(
            json.dumps({"messages": [{"role": "user", "content": "q"}], "tools": tools})
        )
        assert run("render", folder, "--messages", str(tmp_path / "chat.json")).stdout.startswith("weather;")

    @pytest.mark.parametrize(("said", "thinks"), [("False", ""), ("false", ""), ("True", "T"), ("true", "T")])
    def test_a_switch_as_in_python_or_json(self, tmp_path: Path, said: str, thinks: str) -> None:
        switch = "[{% if enable_thinking %}T{% endif %}]"
        folder = str(write_overlay(tmp_path / "tiny", {"chat_template.jinja": switch + tiny.TEMPLATE}))
        assert run("render", folder, "--set", f"enable_thinking={said}").stdout.startswith(f"[{thinks}]")

    @pytest.mark.parametrize("said", ["enable_thinkin=false", "=3", "1a=3"])
    def test_a_switch_that_changes_nothing_is_refused(self, tmp_path: Path, said: str) -> None:
        result = run("render", str(write_overlay(tmp_path / "tiny", {})), "--set", said)
        assert (result.code, "--set" in result.stderr or "does not use" in result.stderr) == (2, True)

    def test_a_marker_that_collators_would_not_find_is_refused(self, tmp_path: Path) -> None:
        glued = "{% for m in messages %}x{{ m.role }} the {{ m.content }}<|im_end|>{% endfor %}"
        result = run("render", str(write_overlay(tmp_path / "glued", {"chat_template.jinja": glued})))
        assert "no response_part" in result.stdout or "response_part = 'xassistant the '" in result.stdout

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ('[{"role": "user", "content": "\\ud800"}]', "surrogates not allowed"),
            ('{"messages": [{"role": "user", "content": "q"}], "tools": "x"}', "tools is a string"),
            ("{}", "expected a list of messages"),
            ("[", "chat.json"),
            ('[{"role": 1}]', "expected a list"),
        ],
    )
    def test_a_wrong_conversation_is_told_in_one_line(self, tmp_path: Path, text: str, told: str) -> None:
        (tmp_path / "chat.json").write_text(text)
        folder = str(write_overlay(tmp_path / "tiny", {}))
        result = run("render", folder, "--messages", str(tmp_path / "chat.json"))
        assert result.code == 2
        assert told in result.stderr
