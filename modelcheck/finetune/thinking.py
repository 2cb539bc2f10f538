"""Answers without the model's thinking. Strict: thinking that never ends has no answer behind it."""

from __future__ import annotations

from collections.abc import Sequence

TAGS = (("<think>", "</think>"),)


def strip(text: str, tags: Sequence[tuple[str, str]] = TAGS, *, unclosed: str = "empty", opened: bool = False) -> str:
    """What follows the last closing tag, or all of the text where there is none.

    A closing tag alone counts too: many templates write the opening one into the prompt. Where thinking is left open
    behind it, or was `opened` by the prompt and never closed, the answer is empty, or, with `unclosed="keep"`, has the
    thinking in it.
    """
    ends = [text.rfind(end) + len(end) for _, end in tags if end in text]
    answer = text[max(ends) :].lstrip() if ends else text
    is_open = (opened and not ends) or any(start in answer for start, _ in tags)
    return "" if is_open and unclosed == "empty" else answer


def opens(prompt: str, tags: Sequence[tuple[str, str]] = TAGS) -> bool:
    """Whether a prompt ends with an opening tag, so that the answer begins as thinking."""
    return prompt.rstrip().endswith(tuple(start for start, _ in tags))
