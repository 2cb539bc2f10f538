"""Rules on rows: what they say, and the healthy data sets on which they are silent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from rows import CHATS, Rows, chat, found, lines, say

from modelcheck import tiny
from modelcheck.testing import lint_overlay

IMAGE = [{"type": "image"}, {"type": "text", "text": "What is it?"}]
CALL = {"type": "function", "function": {"name": "find", "arguments": {}}}


HEALTHY: dict[str, tuple[Rows, Rows | None]] = {
    "questions and answers": (CHATS, None),
    "one system prompt": ([chat(i, system="Be brief.") for i in range(20)], [chat(90, system="Be brief.")]),
    "a system prompt for each row": ([chat(i, system=f"You are {i}.") for i in range(20)], [chat(90, system="Hi.")]),
    "one evaluation row of its own kind": ([*CHATS], [*(chat(50 + i) for i in range(11)), chat(90, system="x")]),
    "several turns": ([say("user: A", "assistant: B", "user: C", f"assistant: {i}") for i in range(12)], None),
    "evaluation without answers": (CHATS, [say("user: Who are you?")]),
    "prompts and completions": ([{"prompt": f"Q{i}", "completion": f"A{i}"} for i in range(12)], None),
    "Alpaca": ([{"instruction": f"I{i}", "input": "", "output": f"O{i}"} for i in range(12)], None),
    "ShareGPT": (
        [{"conversations": [{"from": "human", "value": f"{i}"}, {"from": "gpt", "value": "x"}]} for i in range(12)],
        None,
    ),
    "plain texts": ([{"text": f"<|im_start|>user\nQ{i}<|im_end|>\n"} for i in range(12)], None),
    "thinking and mark-up": ([*CHATS, say("user: <s>struck</s> <b>x</b>", "assistant: <think>\nx\n</think>\ny")], None),
    "a repeated question about different texts": (
        [say(f"user: Sum up.\n\nText {i} about thing {i}", f"assistant: {i}") for i in range(12)],
        [say("user: Sum up.\n\nText 90 about thing 90", "assistant: 90")],
    ),
    "an instruction that all rows share": (
        [say(f"user: {'you are to answer in one word and never in more than that ' * 2}{i}", "assistant: x")
         for i in range(12)],
        [say(f"user: {'you are to answer in one word and never in more than that ' * 2}{i}", "assistant: x")
         for i in range(90, 94)],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("train", "held_out"), HEALTHY.values(), ids=HEALTHY)
def test_a_healthy_data_set_has_no_finding(train: Rows, held_out: Rows | None) -> None:
    overlay = {"train.jsonl": lines(train, "train.jsonl")}
    if held_out is not None:
        overlay["eval.jsonl"] = lines(held_out, "eval.jsonl")
    [report] = lint_overlay(overlay)
    assert (report.findings, report.internal) == ([], [])


def test_a_row_with_a_tool_call_is_rendered_and_no_empty_answer() -> None:
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{{ m.tool_calls | tojson if m.tool_calls }}"
    )
    template += "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    row = {
        "messages": [{"role": "user", "content": "Find"}, {"role": "assistant", "content": "", "tool_calls": [CALL]}]
    }
    [report] = lint_overlay({"train.jsonl": json.dumps(row), "chat_template.jinja": template})
    assert [f for f in report.findings if f.code.startswith("DAT")] == []


class TestForms:
    def test_the_first_bad_row_is_told_with_its_line(self) -> None:
        [finding] = found("bad-row", [*CHATS, {"prompt": "x"}, {"prompt": "y"}])
        assert finding.message.startswith(
            "2 of 42 training rows cannot be read as the others, the first is row 41: it has "
        )
        assert (finding.at, str(finding.file).rpartition("/")[2]) == ("41:1", "train.jsonl")

    def test_rows_of_no_known_form_are_a_broken_file(self) -> None:
        [report] = lint_overlay({"train.jsonl": lines([{"a": 1}], "train.jsonl")})
        [finding] = report.findings
        assert (finding.slug, "row 1 has the columns 'a'; expected messages" in finding.message) == (
            "malformed-file",
            True,
        )
        assert {s.slug for s in report.skipped} >= {"no-answer", "answer-cut"}

    def test_roles(self) -> None:
        [finding] = found("unknown-role", [*CHATS, say("User: x", "assistant: y")])
        assert "1 of 41 training rows have a message of role 'User' (row 41)" in finding.message
        assert "did you mean 'user'" in finding.message

    def test_a_role_that_the_template_names_is_known(self) -> None:
        template = {"chat_template": tiny.TEMPLATE + "{# 'context' #}"}
        row = say("context: x", "user: y", "assistant: z")
        assert found("unknown-role", [*CHATS, row], tokenizer_config__json=template) == []
        assert len(found("unknown-role", [*CHATS, row])) == 1


class TestAnswers:
    def test_rows_that_end_with_a_question(self) -> None:
        [finding] = found("no-answer", [*CHATS, say("user: x"), say("user: x", "assistant: y", "user: z")])
        assert (
            "2 of 42 training rows do not end with an answer (rows 41, 42; the first ends with 'user')"
            in finding.message
        )
        assert str(finding.severity) == "error"

    def test_an_empty_conversation(self) -> None:
        [finding] = found("no-answer", [*CHATS, {"messages": []}])
        assert "the first ends with 'nothing'" in finding.message

    def test_a_set_of_prompts_is_a_warning(self) -> None:
        [finding] = found("no-answer", [{"prompt": f"{i}?"} for i in range(12)])
        assert str(finding.severity) == "warning"

    @pytest.mark.parametrize(("empty", "severity"), [(1, "warning"), (3, "error")])
    def test_empty_answers(self, empty: int, severity: str) -> None:
        [finding] = found("empty-answer", [*CHATS, *(chat(90 + i, answer=" \n") for i in range(empty))])
        assert str(finding.severity) == severity

    @pytest.mark.parametrize("message", [{"tool_calls": [CALL]}, {"reasoning_content": "x"}, {"content": IMAGE[:1]}])
    def test_an_answer_without_text_that_is_none(self, message: dict[str, Any]) -> None:
        row = {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "", **message}]}
        assert found("empty-answer", [*CHATS, row]) == []

    def test_ten_rows_are_enough(self) -> None:
        assert found("few-rows", CHATS[:10]) == []
        [finding] = found("few-rows", CHATS[:9])
        assert finding.message.startswith("there are 9 training rows, expected 10 or more")


class TestLeaks:
    def test_case_spaces_and_system_prompts_hide_no_leak(self) -> None:
        [finding] = found("eval-row-in-train", CHATS, [say("system: X", "user: question  7?", "assistant: answer 7.")])
        assert "1 of 1 evaluation rows are training rows too (row 1; the first is " in finding.message
        assert finding.message.count("train.jsonl, row 8") == 1

    def test_the_same_question_with_another_answer_is_a_warning(self) -> None:
        [finding] = found("eval-row-in-train", CHATS, [chat(7, answer="Else")])
        assert str(finding.severity) == "warning"

    def test_a_question_without_answer_that_was_trained_is_an_error(self) -> None:
        [finding] = found("eval-row-in-train", CHATS, [say("user: Question 7?")])
        assert str(finding.severity) == "error"

    def test_thirteen_words_are_an_overlap_and_twelve_are_none(self) -> None:
        words = [f"word{i}" for i in range(13)]
        train = [*CHATS, say(f"user: So {' '.join(words)}", "assistant: x")]
        [finding] = found("eval-overlaps-train", train, [say(f"user: And {' '.join(words)}!", "assistant: y")])
        assert f"row 41: '{' '.join(words)}'" in finding.message
        assert found("eval-overlaps-train", train, [say(f"user: And {' '.join(words[1:])}!", "assistant: y")]) == []

    def test_a_row_that_is_there_whole_is_told_once(self) -> None:
        train = [*CHATS, chat(90, answer="word " * 30)]
        assert found("eval-overlaps-train", train, [chat(90, answer="word " * 30)]) == []


class TestLengths:
    def test_what_is_cut_is_counted(self) -> None:
        rows = [*CHATS, chat(90, answer="x y " * 300), say(f"user: {'x y ' * 300}", "assistant: z")]
        [finding] = found("answer-cut", rows)
        assert (
            "2 of 42 training rows are longer than the 512 tokens of max_position_embeddings (rows 41, 42"
            in finding.message
        )
        assert "in 1 of them nothing is left of the answer" in finding.message
        assert str(finding.severity) == "warning"

    def test_blanks_after_the_end_of_the_turn_may_be_cut(self) -> None:
        from modelcheck.checks.dataset import answer_cut

        tokenizer, row = live_tokenizer(), say("user: a", "assistant: b")
        length = len(tokenizer.apply_chat_template(row["messages"], return_dict=False))
        for limit, cut in ((length - 1, 0), (length - 2, 1)):
            findings = answer_cut(tokenizer=tokenizer, train_dataset=[row] * 10, args=Arguments(limit))
            assert [str(f.severity) for f in findings] == ["error"] * cut


class TestTokens:
    def test_a_control_token_in_the_text(self) -> None:
        [finding] = found("control-token-in-row", [*CHATS, say("user: a<|im_start|>system", "assistant: b<|im_end|>")])
        assert "('<|im_end|>', '<|im_start|>'; row 41)" in finding.message
        assert str(finding.severity) == "error"

    def test_one_row_of_many_is_a_warning(self) -> None:
        rows = [chat(i) for i in range(150)]
        [finding] = found("control-token-in-row", [*rows, say("user: a<|im_end|>", "assistant: b")])
        assert str(finding.severity) == "warning"

    def test_other_special_tokens_are_information(self) -> None:
        [finding] = found("control-token-in-row", [*CHATS, say("user: <|reserved_0|> a", "assistant: b")])
        assert str(finding.severity) == "info"

    def test_a_pair_of_tokens_that_looks_like_html(self) -> None:
        special: dict[str, Any] = {"tokenizer_config__json": {"bos_token": "<|bos|>"}}
        [finding] = found("control-token-in-row", [*CHATS, say("user: a<|bos|>", "assistant: b")], **special)
        assert str(finding.severity) == "error"

    def test_an_untrained_token_that_only_evaluation_uses(self) -> None:
        row = say("user: <|reserved_0|> a", "assistant: b")
        zeros: dict[str, Any] = {"tensors__json": {"model.embed_tokens.weight": {"4": "zeros"}}}
        assert found("untrained-token-in-row", CHATS, [row], **zeros) == []
        [finding] = found("untrained-token-in-row", [*CHATS, row], **zeros)
        assert "1 of 41 training rows use '<|reserved_0|>' (id 4; row 41)" in finding.message

    def test_a_text_that_begins_with_the_bos_which_encoding_adds(self) -> None:
        added = {"type": "TemplateProcessing",
                 "single": [{"SpecialToken": {"id": "<|bos|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                 "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                 "special_tokens": {"<|bos|>": {"id": "<|bos|>", "ids": [1], "tokens": ["<|bos|>"]}}}  # fmt: skip
        files: dict[str, Any] = {
            "tokenizer__json": {"post_processor": added},
            "tokenizer_config__json": {"bos_token": "<|bos|>"},
        }
        [finding] = found("double-bos", [{"text": f"<|bos|>{i}"} for i in range(12)], **files)
        assert str(finding.file).endswith("train.jsonl")
        assert found("double-bos", [{"text": f"{i}"} for i in range(12)], **files) == []


class TestSystemPrompts:
    def test_another_one_in_evaluation(self) -> None:
        train = [chat(i, system="Be brief.") for i in range(20)]
        [finding] = found("system-prompt-drift", train, [chat(90, system="Be short.")])
        assert (
            "1 of 1 evaluation rows have the system prompt 'Be short.', expected what training has" in finding.message
        )

    def test_two_spellings_of_one(self) -> None:
        train = [chat(i, system="Be brief." if i % 2 else "be brief") for i in range(20)]
        [finding] = found("system-prompt-drift", train, [chat(90, system="Be brief.")])
        assert str(finding.severity) == "warning"

    def test_two_different_ones_are_information(self) -> None:
        train = [chat(i, system="Be brief." if i % 2 else "Rhyme.") for i in range(20)]
        [finding] = found("system-prompt-drift", train, [chat(90, system="Rhyme.")])
        assert str(finding.severity) == "info"


def test_rows_that_the_template_refuses() -> None:
    template = {"chat_template": "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" +
                tiny.TEMPLATE}  # fmt: skip
    [finding] = found("row-not-rendered", [*CHATS, chat(90, system="x")], tokenizer_config__json=template)
    assert "1 of 41 training rows cannot be rendered (row 41; on row 41: 'TemplateError: no system')" in finding.message


def test_without_a_template_rows_of_messages_could_not_be_checked() -> None:
    [report] = lint_overlay({"train.jsonl": "", "tokenizer_config.json": '{"chat_template": null}'})
    assert {s.slug for s in report.skipped} == {"answer-cut", "row-not-rendered", "untrained-token-in-row"}
    assert "--chat-template FILE" in report.skipped[0].reason


class Arguments:
    """What of a trainer's arguments is read."""

    def __init__(self, max_length: int) -> None:
        self.max_length = max_length


def live_tokenizer() -> Any:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer.from_str(tiny.tokenizer_json())
    special = {"eos_token": "<|im_end|>", "pad_token": "<|pad|>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **special)  # type: ignore[no-untyped-call]
    tokenizer.chat_template = tiny.TEMPLATE
    return tokenizer
