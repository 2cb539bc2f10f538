"""Rows of data sets, and what a lint of the tiny checkpoint says about them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from modelcheck import tiny
from modelcheck.finding import Finding
from modelcheck.testing import lint_overlay

Rows = Sequence[Mapping[str, Any]]


def say(*turns: str, **more: Any) -> dict[str, Any]:
    """A row of turns such as `user: Who?`."""
    messages = [{"role": turn.partition(": ")[0], "content": turn.partition(": ")[2]} for turn in turns]
    return {"messages": messages, **more}


def chat(i: int, *, system: str | None = None, answer: str | None = None) -> dict[str, Any]:
    turns = [f"user: Question {i}?", f"assistant: {answer if answer is not None else f'Answer {i}.'}"]
    return say(*([f"system: {system}"] if system is not None else []), *turns)


def lines(rows: Rows, file: str) -> str:
    """Exactly these rows: the healthy ones that would be left are taken out."""
    return "\n".join([*map(json.dumps, rows), *["null"] * (len(tiny.rows(file)) - len(rows))])


def found(slug: str, train: Rows | None = None, held_out: Rows | None = None, **files: Any) -> list[Finding]:
    overlay = {f"{name.replace('__', '.')}": json.dumps(content) for name, content in files.items()}
    overlay["train.jsonl"] = lines(train, "train.jsonl") if train is not None else ""
    if held_out is not None:
        overlay["eval.jsonl"] = lines(held_out, "eval.jsonl")
    [report] = lint_overlay(overlay)
    assert report.internal == []
    return [f for f in report.findings if f.slug == slug]


CHATS = [chat(i) for i in range(40)]
