"""two-template-sources, prompt-not-prefix and unknown-literal: their traps and how bad they call what they find."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import pytest
from support import found_for, severities

from modelcheck import engine
from modelcheck.finding import Finding
from modelcheck.render.renderer import Renderer

TURNS = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
PROMPT = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
HEALTHY = TURNS + PROMPT
OTHER = {"chat_template": "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}"}


@pytest.fixture(scope="module", autouse=True)
def _one_renderer_for_all() -> Iterator[None]:
    with Renderer() as renderer, pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "Renderer", lambda: nullcontext(renderer))
        yield


def found(slug: str, template: str) -> list[Finding]:
    return found_for(slug, (), {"chat_template.jinja": template})


class TestTwoSources:
    def test_an_error_as_runtimes_take_either(self) -> None:
        files = {"chat_template.jinja": HEALTHY, "tokenizer_config.json": OTHER}
        for targets in ([], ["vllm", "ollama"], ["transformers>=5", "llama.cpp"]):
            assert severities(found_for("two-template-sources", targets, files)) == ["error"]

    @pytest.mark.parametrize("target", ["transformers>=5", "llama.cpp"])
    def test_a_warning_where_all_that_are_named_read_the_same(self, target: str) -> None:
        files = {"chat_template.jinja": HEALTHY, "tokenizer_config.json": OTHER}
        assert severities(found_for("two-template-sources", [target], files)) == ["warning"]

    def test_two_equal_copies_are_healthy(self) -> None:
        """As saved by transformers 4.57 through unsloth; also with another number of newlines at the end."""
        for end in ("", "\n"):
            files = {"chat_template.jinja": HEALTHY + end, "tokenizer_config.json": {"chat_template": HEALTHY}}
            assert not found_for("two-template-sources", [], files)

    def test_the_default_of_a_named_list_is_compared(self) -> None:
        named = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": HEALTHY}]
        files = {"chat_template.jinja": HEALTHY, "tokenizer_config.json": {"chat_template": named}}
        assert not found_for("two-template-sources", [], files)
        named[1]["template"] = TURNS
        assert found_for("two-template-sources", [], files)


class TestPromptNotPrefix:
    def test_a_thought_that_history_lacks(self) -> None:
        [finding] = found("prompt-not-prefix", TURNS + PROMPT.replace("assistant\n", "assistant\n<think>\n"))
        assert severities([finding]) == ["warning"]
        assert "goes on with '<think>\\n' where it asks for an answer and with '<the answer>" in finding.message

    def test_only_under_a_switch_is_information_and_names_it(self) -> None:
        thinking = PROMPT.replace("assistant\n", "assistant\n{% if enable_thinking %}<think>\n{% endif %}")
        [finding] = found("prompt-not-prefix", TURNS + thinking)
        assert severities([finding]) == ["info"]
        assert "with enable_thinking=True" in finding.message

    def test_an_end_that_is_written_only_without_the_prompt_is_fine(self) -> None:
        """Phi-3."""
        assert not found("prompt-not-prefix", TURNS + PROMPT.replace("{% endif %}", "{% else %}<|bos|>{% endif %}"))

    def test_a_prompt_that_is_ignored_is_another_rules_business(self) -> None:
        assert not found("prompt-not-prefix", TURNS)

    def test_a_question_in_prose_is_no_open_turn(self) -> None:
        guard = "{% if add_generation_prompt %}Is the last message above safe or is it unsafe?{% endif %}"
        assert not found("prompt-not-prefix", TURNS + guard)


class TestUnknownLiteral:
    def test_a_foreign_family_ends_its_turns_with_no_token(self) -> None:
        [finding] = found("unknown-literal", HEALTHY.replace("im_end", "eot_id").replace("im_start", "header"))
        assert (str(finding.severity), "'<|eot_id|>'" in finding.message) == ("error", True)

    def test_role_headers_in_plain_text_are_a_warning(self) -> None:
        """Zephyr and Tulu were published so, and end their turns with a real token."""
        zephyr = "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|im_end|>\n{% endfor %}" + PROMPT
        [finding] = found("unknown-literal", zephyr)
        assert severities([finding]) == ["warning"]
        assert "'<|user|>', '<|assistant|>'" in finding.message

    def test_markers_around_tools_alone_are_information(self) -> None:
        tools = "{% if tools %}<|tools|>{{ tools | tojson }}{% endif %}" + HEALTHY
        assert severities(found("unknown-literal", tools)) == ["info"]

    @pytest.mark.parametrize("plain", ["<think>", "<tool_call>", "[INST]", "<<SYS>>", "### Answer:", "<tools>"])
    def test_what_is_plain_text_in_many_models(self, plain: str) -> None:
        assert not found("unknown-literal", plain + HEALTHY)

    def test_without_a_whole_vocabulary_it_cannot_be_told(self) -> None:
        files = {"chat_template.jinja": HEALTHY.replace("im_end", "eot_id"), "tokenizer.json": "null",
                 "tokenizer_config.json": {"added_tokens_decoder": {"3": {"content": "<|im_end|>"}}}}  # fmt: skip
        assert not found_for("unknown-literal", [], files)
