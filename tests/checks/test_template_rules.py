"""The traps of the template rules: what they must not say, and what they must say of hard cases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest

from modelcheck import engine
from modelcheck.finding import Finding
from modelcheck.render.renderer import Renderer
from modelcheck.report import TargetReport
from modelcheck.testing import lint_overlay

TURNS = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
PROMPT = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
HEALTHY = TURNS + PROMPT


@pytest.fixture(scope="module", autouse=True)
def _one_renderer_for_all() -> Iterator[None]:
    with Renderer() as renderer, pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "Renderer", lambda: nullcontext(renderer))
        yield


def lint(template: str | None = None, **files: Any) -> TargetReport:
    """Lint the tiny checkpoint with this template; `config=None` deletes config.json, a dict is merged into it."""
    overlay = {f"{name}.json": json.dumps(content) for name, content in files.items()}
    if template is not None:
        overlay["chat_template.jinja"] = template
    [report] = lint_overlay(overlay)
    assert report.internal == []
    return report


def found(slug: str, template: str | None = None, **files: Any) -> list[Finding]:
    return [f for f in lint(template, **files).findings if f.slug == slug]


def severity(findings: list[Finding]) -> list[str]:
    return [str(f.severity) for f in findings]


class TestTemplateBroken:
    def test_a_syntax_error_in_its_own_file_has_a_line(self) -> None:
        [finding] = found("template-broken", "{% for m in messages %}\n{{ m.content }\n{% endfor %}")
        assert (str(finding.severity), finding.file, finding.at) == ("error", "chat_template.jinja", "2:1")

    def test_a_syntax_error_in_json_has_a_pointer(self) -> None:
        [finding] = found("template-broken", tokenizer_config={"chat_template": "{% for %}"})
        assert (finding.file, finding.at) == ("tokenizer_config.json", "/chat_template")

    def test_an_error_on_a_user_message_is_told(self) -> None:
        [finding] = found("template-broken", "{{ messages[0].content + 1 }}")
        assert "can only concatenate str" in finding.message
        assert severity([finding]) == ["error"]

    def test_a_special_token_is_not_known_without_a_tokenizer(self) -> None:
        alone = {"chat_template.jinja": "{{ bos_token + messages[0].content }}"}
        gone = {"tokenizer.json": "null", "tokenizer_config.json": "null"}
        [report] = lint_overlay({**alone, **gone}, select=["template-broken"])
        assert (report.findings, [s.slug for s in report.skipped]) == ([], ["template-broken"])
        assert "bos_token" in report.skipped[0].reason
        broken = {"additional_chat_templates/tool_use.jinja": "{% for %}"}
        [finding] = lint_overlay({**alone, **broken, **gone}, select=["template-broken"]).findings
        assert "does not compile" in finding.message
        unset = {"tokenizer_config.json": '{"bos_token": null}'}
        [finding] = lint_overlay({**alone, **unset}, select=["template-broken"]).findings
        assert "'bos_token' is undefined" in finding.message

    def test_contents_as_lists_of_parts_are_tried(self) -> None:
        parts = TURNS.replace("{{ m.content }}", "{% for p in m.content %}{{ p['text'] }}{% endfor %}")
        assert not found("template-broken", parts)
        assert not lint(parts + PROMPT).skipped

    @pytest.mark.parametrize(
        ("template", "needed"),
        [
            ("{% for t in tools %}{{ t }}{% endfor %}" + HEALTHY, "'tools'"),
            ("{{ '* ' + guideline }}" + HEALTHY, "'guideline'"),
            ("{{ functions + datetime }}" + HEALTHY, "'datetime' and 'functions'"),
            ("{% if messages[0].role != 'functions' %}{{ raise_exception('no') }}{% endif %}" + HEALTHY, "'functions'"),
            ("{{ messages[0].title + messages[0].content }}", "a field 'title'"),
        ],
    )
    def test_a_template_that_needs_more_is_information(self, template: str, needed: str) -> None:
        [finding] = found("template-broken", template)
        assert severity([finding]) == ["info"]
        assert needed in finding.message

    def test_a_refusal_in_its_own_words_is_a_warning(self) -> None:
        [finding] = found("template-broken", "{{ raise_exception('give me a language code') }}")
        assert severity([finding]) == ["warning"]
        assert "give me a language code" in finding.message

    def test_every_entry_of_a_named_list_is_checked(self) -> None:
        named = [{"name": "default", "template": HEALTHY}, {"name": "rag", "template": "{{ x.y.z }}"}]
        [finding] = found("template-broken", tokenizer_config={"chat_template": named})
        assert "'rag'" in finding.message
        assert finding.at == "/chat_template/1/template"

    def test_a_named_template_for_tools_may_need_tools(self) -> None:
        tool_use = {"name": "tool_use", "template": "{% for t in tools %}{{ t }}{% endfor %}" + HEALTHY}
        named = [{"name": "default", "template": HEALTHY}, tool_use]
        assert not found("template-broken", tokenizer_config={"chat_template": named})

    def test_a_named_list_without_default_is_told(self) -> None:
        named = [{"name": "chat", "template": HEALTHY}]
        [finding] = found("template-broken", tokenizer_config={"chat_template": named})
        assert severity([finding]) == ["warning"]
        assert "expected one named 'default'" in finding.message

    def test_rules_that_need_its_text_could_not_be_checked(self) -> None:
        assert {"template-date", "terminator-not-eos"} <= {s.slug for s in lint("{% if %}").skipped}


class TestTemplateDate:
    def test_the_message_shows_both_moments(self) -> None:
        [finding] = found("template-date", "Today is {{ strftime_now('%d %b %Y') }}.\n" + HEALTHY)
        assert "'07 Mar 2024' at one moment and with '25 Nov 2031' at another" in finding.message

    def test_a_name_in_the_source_is_no_finding(self) -> None:
        unused = "{% if today is defined %}{{ strftime_now('%Y') }}{% endif %}{# date_string #}"
        assert not found("template-date", unused + HEALTHY)

    def test_a_date_with_tools_only_is_found(self) -> None:
        dated = "{% if tools %}Today: {{ strftime_now('%Y-%m-%d') }}{% endif %}" + HEALTHY
        assert "a prompt that has tools" in found("template-date", dated)[0].message

    def test_a_date_under_a_switch_names_the_switch(self) -> None:
        dated = "{% if with_date %}{{ strftime_now('%Y-%m-%d') }}{% endif %}" + HEALTHY
        assert "with with_date=True renders" in found("template-date", dated)[0].message

    def test_text_at_random_is_no_date(self) -> None:
        assert not found("template-date", "{{ range(9999) | random }}{{ lipsum(n=1) }}" + HEALTHY)


class TestTemplateDateFrozen:
    @pytest.mark.parametrize("date", ["26 Jul 2024", "July 26, 2024", "26 July 2024", "2024-07-26", "1 May, 2025"])
    def test_dates_with_a_day(self, date: str) -> None:
        assert date in found("template-date-frozen", f"Today Date: {date}\n" + HEALTHY)[0].message

    @pytest.mark.parametrize(
        "line",
        [
            "Knowledge cutoff: December 2023",
            "Cutting Knowledge Date: 1 December 2023",
            "Knowledge cutoff: 2023-10-01",
            "You are model-2024-05-13",
            "Release 12024-07-26",
        ],
    )
    def test_cutoffs_and_version_names_are_silent(self, line: str) -> None:
        assert not found("template-date-frozen", line + "\n" + HEALTHY)

    def test_a_date_that_moves_is_not_frozen(self) -> None:
        assert not found("template-date-frozen", "Today is {{ strftime_now('%d %b %Y') }}\n" + HEALTHY)

    def test_a_fallback_where_no_date_is_passed_is_frozen(self) -> None:
        assert found("template-date-frozen", "{{ date_string | default('26 Jul 2024') }}\n" + HEALTHY)


class TestTerminatorNotEos:
    EOS_ELSEWHERE: dict[str, Any] = {
        "tokenizer_config": {"eos_token": "<|reserved_0|>"},
        "config": {"eos_token_id": 4},
        "generation_config": {"eos_token_id": 4},
    }

    def test_it_points_at_the_stop_list(self) -> None:
        [finding] = found("terminator-not-eos", **self.EOS_ELSEWHERE)
        assert (finding.file, finding.at) == ("generation_config.json", "/eos_token_id")
        assert "ends an assistant turn with '<|im_end|>' (id 3)" in finding.message
        assert severity([finding]) == ["error"]

    def test_a_bare_tokenizer_is_a_warning(self) -> None:
        bare: dict[str, Any] = {
            "tokenizer_config": {"eos_token": "<|reserved_0|>"},
            "config": None,
            "generation_config": None,
        }
        assert severity(found("terminator-not-eos", **bare)) == ["warning"]

    def test_the_list_of_generation_config_counts(self) -> None:
        """Gemma: the tokenizer's EOS is another token, the list has the turn's end."""
        listed = {**self.EOS_ELSEWHERE, "generation_config": {"eos_token_id": [4, 3]}}
        assert not found("terminator-not-eos", **listed)

    def test_an_eos_behind_the_terminator_is_enough(self) -> None:
        """Phi-3: `<|end|>`, a newline, the EOS."""
        both = "{% for m in messages %}{{ m.content }}<|im_end|>\n{% endfor %}<|reserved_0|>\n"
        assert not found("terminator-not-eos", both, **self.EOS_ELSEWHERE)

    def test_a_dangling_header_is_not_the_terminator(self) -> None:
        dangling = TURNS.replace("<|im_start|>", "<|reserved_0|>") + "<|reserved_0|>assistant\n"
        [finding] = found("terminator-not-eos", dangling, **self.EOS_ELSEWHERE)
        assert "'<|im_end|>'" in finding.message

    def test_text_that_is_no_token(self) -> None:
        text = "{% for m in messages %}{{ m.role }}: {{ m.content }}</s>{% endfor %}"
        [finding] = found("terminator-not-eos", text)
        assert "'</s>', which holds no special token" in finding.message
        assert severity([finding]) == ["error"]

    def test_prose_after_the_answer_is_a_warning(self) -> None:
        assert severity(found("terminator-not-eos", "{% for m in messages %}{{ m.content }}\n###\n{% endfor %}")) == [
            "warning"
        ]

    def test_without_tokenizer_json_the_added_tokens_will_do(self) -> None:
        decoder = {"3": {"content": "<|im_end|>"}, "4": {"content": "<|reserved_0|>"}}
        files = {**self.EOS_ELSEWHERE, "tokenizer": None}
        files["tokenizer_config"] = {"eos_token": "<|reserved_0|>", "added_tokens_decoder": decoder}
        assert found("terminator-not-eos", **files)

    def test_without_any_vocabulary_it_could_not_be_checked(self) -> None:
        report = lint(**{**self.EOS_ELSEWHERE, "tokenizer": None})
        assert "terminator-not-eos" in {s.slug for s in report.skipped}

    def test_the_eos_by_its_text_needs_no_vocabulary(self) -> None:
        assert "terminator-not-eos" not in {s.slug for s in lint(tokenizer=None).skipped}

    def test_a_terminator_under_a_switch_names_the_switch(self) -> None:
        ends = "{{ '<|reserved_1|>' if enable_thinking else '<|im_end|>' }}"
        [finding] = found("terminator-not-eos", HEALTHY.replace("<|im_end|>", ends))
        assert "with enable_thinking=True ends an assistant turn with '<|reserved_1|>'" in finding.message

    def test_a_template_without_assistant_messages_is_not_judged(self) -> None:
        only_user = "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}"
        assert not found("terminator-not-eos", only_user)
        assert not found("no-terminator", only_user)


class TestNoTerminator:
    def test_blank_text_is_no_terminator(self) -> None:
        assert "only '\\n'" in found("no-terminator", HEALTHY.replace("<|im_end|>", ""))[0].message

    def test_a_switch_that_leaves_the_last_message_open_is_fine(self) -> None:
        last = "{% if not (keep_open and loop.last) %}<|im_end|>\n{% endif %}"
        assert not found("no-terminator", HEALTHY.replace("<|im_end|>\n", last))


class TestGenerationPromptIgnored:
    def test_it_shows_the_header(self) -> None:
        [finding] = found("generation-prompt-ignored", TURNS)
        assert severity([finding]) == ["warning"]
        assert "expected it to end with '<|im_start|>assistant\\n'" in finding.message

    def test_an_answer_that_follows_directly_needs_no_header(self) -> None:
        instruct = (
            "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
            "{% else %} {{ m.content }}<|im_end|>{% endif %}{% endfor %}"
        )
        assert not found("generation-prompt-ignored", instruct)

    def test_a_header_glued_to_the_user_turn_is_fine(self) -> None:
        glued = (
            "{% for m in messages %}{% if m.role == 'user' %}### Instruction:\n{{ m.content }}\n### Response:\n"
            "{% else %}{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}"
        )
        assert not found("generation-prompt-ignored", glued)

    @pytest.mark.parametrize("header", ["<|im_start|>assistant\n", "### Response:\n"])
    def test_a_header_that_is_always_there_is_information(self, header: str) -> None:
        always = TURNS.replace(
            "<|im_start|>{{ m.role }}\n",
            "{{ '" + header.strip() + "' if m.role == 'assistant' else '<|im_start|>user' }}\n",
        )
        [finding] = found("generation-prompt-ignored", always + header)
        assert severity([finding]) == ["info"]
        assert "always, also after the last answer" in finding.message

    def test_a_closing_token_is_no_header(self) -> None:
        """BlenderBot and others end the whole text, whoever spoke last, with the EOS."""
        assert not found("generation-prompt-ignored", "{% for m in messages %} {{ m.content }}{% endfor %}<|im_end|>")

    def test_a_question_after_the_conversation_is_no_open_turn(self) -> None:
        """Guard models: what follows is the question that they were trained on."""
        guard = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}Is the last of these safe or unsafe?"
        assert not found("generation-prompt-ignored", guard)

    def test_a_switch_that_drops_the_header_is_named(self) -> None:
        switched = TURNS + PROMPT.replace("add_generation_prompt", "add_generation_prompt and not quiet")
        assert "with quiet=True renders the same text" in found("generation-prompt-ignored", switched)[0].message


class TestSystemDropped:
    ROLES = (
        "{% for m in messages %}{% if m.role != 'system' %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
        "{% endif %}{% endfor %}"
    )

    def test_a_system_message_that_is_skipped(self) -> None:
        assert severity(found("system-dropped", self.ROLES + PROMPT)) == ["warning"]

    def test_a_list_of_parts_that_arrives_is_enough(self) -> None:
        listed = "{% if messages[0].content is not string %}{{ messages[0].content[0].text }}{% endif %}"
        assert not found("system-dropped", listed + self.ROLES + PROMPT)

    def test_a_refusal_is_no_loss(self) -> None:
        refuses = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        assert not found("system-dropped", refuses + HEALTHY)

    def test_folding_into_the_user_message_is_no_loss(self) -> None:
        folded = "{% if messages[0].role == 'system' %}{{ messages[0].content }}\n{% endif %}" + self.ROLES + PROMPT
        assert not found("system-dropped", folded)

    def test_a_switch_that_drops_it_is_named(self) -> None:
        switched = self.ROLES.replace("m.role != 'system'", "m.role != 'system' or not terse")
        assert "with terse=True renders" in found("system-dropped", switched + PROMPT)[0].message
