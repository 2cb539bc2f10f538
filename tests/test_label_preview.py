"""The preview of labels: what carries loss stands out, and nothing in a row can leave its place on the page."""

from __future__ import annotations

import click
from pages import Page, assert_in_order, assert_loads_nothing

from modelcheck.finetune.label_preview import page, terminal

ROWS = [
    {
        "row": 7,
        "ids": [1, 30, 2, 9],
        "texts": ["<|im_start|>", "<script>", "<|im_end|>", "\n"],
        "supervised": [False, True, True, False],
    }
]


def test_brackets_stand_for_colour_in_a_file() -> None:
    shown = terminal(ROWS, colour=False)
    assert "row 7: 2 of 4 tokens carry loss" in shown
    assert "<|im_start|>⟦<script><|im_end|>⟧↵" in shown


def test_colour_says_the_same_on_a_terminal() -> None:
    assert click.style("<script><|im_end|>", fg="green", bold=True) in terminal(ROWS, colour=True)


def test_the_page_marks_loss_and_ends_and_escapes_texts() -> None:
    shown = Page(page(ROWS, [2]))
    tokens = [
        (e.text, e.attributes["class"], e.attributes["title"]) for e in shown.all("span") if "title" in e.attributes
    ]
    assert tokens == [
        ("<|im_start|>", "token", "1"),
        ("<script>", "token loss", "30"),
        ("<|im_end|>", "token end", "2"),
        ("↵\n", "token", "9"),
    ]
    assert "Row 7 2 of 4 tokens carry loss" in shown.text


def test_the_page_is_in_the_house_style() -> None:
    shown = Page(page(ROWS, [2]))
    assert_in_order(shown)
    assert_loads_nothing(shown)
