"""Traps of the rules on rows that are not in the table of healthy data sets: each nearly a fault, and none."""

from __future__ import annotations

import json

import pytest
from rows import CHATS, chat, found, lines, say

from modelcheck.testing import lint_overlay

LONG = "x y " * 300
PASSAGE = " ".join(f"word{i}" for i in range(13))
ZERO = {"model.embed_tokens.weight": {"4": "zeros"}}


def test_lines_without_anything_and_columns_that_nobody_reads_are_fine() -> None:
    rows = [json.dumps({**chat(i), "source": None, "score": i}) for i in range(12)]
    text = "\ufeff" + "\n\n".join(rows)
    [report] = lint_overlay({"train.jsonl": text})
    assert (report.findings, report.internal) == ([], [])


def test_plain_texts_are_cut_as_a_matter_of_course() -> None:
    [finding] = found("answer-cut", [*({"text": f"{i}"} for i in range(11)), {"text": LONG}])
    assert str(finding.severity) == "warning"


def test_a_template_that_raises_on_everything_is_told_once_and_not_for_each_row() -> None:
    broken = {"chat_template": "{{ raise_exception('no') }}"}
    [report] = lint_overlay({"train.jsonl": lines(CHATS, "train.jsonl"), "tokenizer_config.json": json.dumps(broken)})
    assert "template-broken" in {f.slug for f in report.findings}
    assert "row-not-rendered" not in {f.slug for f in report.findings}


def test_replayed_rows_without_the_system_prompt_are_information() -> None:
    train = [chat(i, system="Be brief.") for i in range(30)] + [chat(40 + i) for i in range(10)]
    [finding] = found("system-prompt-drift", train, [chat(90, system="Be brief.")])
    assert str(finding.severity) == "info"


@pytest.mark.parametrize("prompts", [6, 40])
def test_from_six_system_prompts_on_they_are_the_lesson(prompts: int) -> None:
    train = [chat(i, system=f"You are {i % prompts}.") for i in range(40)]
    assert found("system-prompt-drift", train, [chat(90, system="You are 91.")]) == []


@pytest.mark.parametrize("role", ["developer", "tool", "function", "ipython"])
def test_roles_of_published_templates_are_known(role: str) -> None:
    assert found("unknown-role", [*CHATS, say(f"{role}: x", "user: y", "assistant: z")]) == []


def test_a_tool_call_is_an_answer() -> None:
    call = {"type": "function", "function": {"name": "find", "arguments": {}}}
    row = {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": None, "tool_calls": [call]}]}
    assert found("no-answer", [*CHATS, row]) == []


def test_a_system_prompt_that_both_sides_share_is_no_overlap() -> None:
    train = [*CHATS, chat(50, system=PASSAGE)]
    assert found("eval-overlaps-train", train, [chat(90, system=PASSAGE)]) == []


def test_a_text_without_spaces_has_few_words() -> None:
    passage = "トークナイザーは文章を小さな単位に分けるための部品であり、モデルはその単位を番号で読む。"
    train = [*CHATS, say(f"user: {passage}", "assistant: x")]
    assert found("eval-overlaps-train", train, [say(f"user: 問い。{passage}", "assistant: y")]) == []


def test_a_dead_token_of_the_template_itself_is_told_elsewhere() -> None:
    zeros = {"model.embed_tokens.weight": {"2": "zeros"}}
    files = {"train.jsonl": lines(CHATS, "train.jsonl"), "tensors.json": json.dumps(zeros)}
    [report] = lint_overlay(files)
    assert "untrained-token-used" in {f.slug for f in report.findings}
    assert "untrained-token-in-row" not in {f.slug for f in report.findings}


def test_a_dead_token_in_one_row_of_many_is_a_warning() -> None:
    rows = [chat(i) for i in range(150)]
    [finding] = found(
        "untrained-token-in-row", [*rows, say("user: <|reserved_0|>", "assistant: b")], tensors__json=ZERO
    )
    assert str(finding.severity) == "warning"
