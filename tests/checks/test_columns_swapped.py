from __future__ import annotations

import json
from pathlib import Path

from modelcheck.finding import Finding, Severity
from modelcheck.testing import lint_overlay

TINY = Path(__file__).parent.parent.parent / "examples" / "tiny"


def rows(*files: str, swapped: bool = False) -> str:
    found = [json.loads(line) for file in files for line in (TINY / f"{file}.jsonl").read_text().splitlines()[:60]]
    chats = [(row["answer"], row["question"]) if swapped else (row["question"], row["answer"]) for row in found]
    parts = [[{"role": "user", "content": q}, {"role": "assistant", "content": a}] for q, a in chats]
    return "\n".join(json.dumps({"messages": messages}) for messages in parts)


def found(train: str, held_out: str) -> list[Finding]:
    [report] = lint_overlay({"train.jsonl": train, "eval.jsonl": held_out}, select=["columns-swapped"])
    return report.findings


EVAL = rows("eval", "guard-add", "guard-copy")


def test_counts_swapped_rows_among_others() -> None:
    [finding] = found(rows("train", swapped=True) + "\n" + rows("replay"), EVAL)
    assert 50 <= int(finding.message.split()[1]) <= 60
    said = "of 120 training rows the prompt reads like evaluation's answers and the answer like its prompts"
    assert said in finding.message
    # A task that goes both ways looks the same.
    assert finding.severity is Severity.WARNING


def test_nearly_all_rows_are_an_error() -> None:
    [finding] = found(rows("train", swapped=True), EVAL)
    assert finding.severity is Severity.ERROR


def test_is_silent_where_prompts_and_answers_are_of_one_kind() -> None:
    assert found(rows("train", "replay"), EVAL) == []
    talk = [
        ("How are you today, my friend?", "I am well, my friend."),
        ("I am well today.", "How are you, my friend?"),
    ] * 10
    chat = "\n".join(
        json.dumps({"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]}) for q, a in talk
    )
    assert found(chat, chat) == []
