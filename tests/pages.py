"""A page of HTML as a test looks at it: its elements, text and colours. Reading it refuses what is not well-formed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import modelcheck.output

VOID = ("br", "hr", "img", "input", "link", "meta")
CSS = (Path(modelcheck.output.__file__).parent / "templates" / "house.css").read_text()


@dataclass
class Element:
    """One element: its name, attributes, place (the names around it), and the text in it."""

    name: str
    attributes: dict[str, str]
    path: tuple[str, ...]
    text: str = ""


@dataclass
class Page(HTMLParser):
    """Every element of a page, in order. Raises AssertionError for one that is not closed, or not open."""

    source: str
    elements: list[Element] = field(default_factory=list)
    open: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.source)
        self.close()
        assert [e.name for e in self.open] == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(attrs) == len({name for name, _ in attrs}), (tag, attrs)
        element = Element(tag, {k: v or "" for k, v in attrs}, tuple(e.name for e in self.open))
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> of nothing"
        assert self.open[-1].name == tag, f"</{tag}> inside {self.open[-1].name}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.text += data

    def all(self, *names: str, of: str = "") -> list[Element]:
        """The elements of these names, in order; with `of`, those of that class."""
        return [e for e in self.elements if e.name in names and (not of or of in e.attributes.get("class", "").split())]

    @property
    def text(self) -> str:
        """What a reader sees, with every run of spaces as one."""
        [body] = self.all("body")
        return " ".join(body.text.split())


def colours() -> dict[str, dict[str, str]]:
    """{`light` or `dark`: {role: #rrggbb}} of the house style."""
    light, dark = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    found = [dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in (light, dark)]
    return {"light": found[0], "dark": found[1]}


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours, as WCAG 2.2 defines it: 1 to 21."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
