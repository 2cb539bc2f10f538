"""A page of HTML as a test looks at it: its elements, text and colours. Reading it refuses what is not well-formed."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import modelcheck.output

VOID = ("br", "hr", "img", "input", "link", "meta")
TEMPLATES = Path(modelcheck.output.__file__).parent / "templates"
CSS = "".join((TEMPLATES / name).read_text() for name in ("house.css", "finetune.css"))


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


def assert_in_order(page: Page) -> None:
    """Landmarks, headings that skip no level, one id for each element, and no name or link that leads nowhere."""
    assert [len(page.all(name)) for name in ("header", "main", "footer", "h1")] == [1] * 4
    assert [e.path for e in page.all("title") if "svg" not in e.path] == [("html", "head")]
    assert {e.path[-1] for e in page.all("header", "main", "footer")} == {"body"}
    assert page.elements[0].attributes["lang"] == "en"
    levels = [int(e.name[1]) for e in page.all("h1", "h2", "h3", "h4", "h5")]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = [e.attributes["id"] for e in page.elements if "id" in e.attributes]
    assert len(ids) == len(set(ids))
    named = [
        e.attributes[a] for e in page.elements for a in ("aria-labelledby", "aria-describedby") if a in e.attributes
    ]
    links = [e.attributes["href"].removeprefix("#") for e in page.all("a")]
    assert {*" ".join(named).split(), *links} <= set(ids)
    [skip] = page.all("a", of="skip")
    assert skip.attributes["href"] == "#main"


def assert_loads_nothing(page: Page) -> None:
    """No script, nothing that is fetched, nothing that runs on an event, and a policy that forbids it all."""
    assert page.all("script", "img", "iframe", "object", "embed", "base", "form", "audio", "video", "use") == []
    for element in page.elements:
        assert [a for a in element.attributes if a.startswith("on") or a in ("src", "srcset", "style", "action")] == []
        assert element.attributes.get("href", "#").startswith(("#", "data:,"))
    [style] = page.all("style")
    assert re.findall(r"url\(|@import|expression\(", style.text) == []
    [policy] = [e for e in page.all("meta") if e.attributes.get("http-equiv") == "Content-Security-Policy"]
    assert policy.attributes["content"].startswith("default-src 'none'")


def results_shown(page: Page) -> list[dict[str, Any]]:
    """{name: exact number, None where there is none, and the verdict} of each row of a job's table of verdicts.

    What is written there for people must be these numbers, rounded.
    """
    rows: list[dict[str, Any]] = []
    for element in page.elements:
        if element.name == "data" and "table" in element.path:
            name, number = element.attributes["class"], element.attributes["value"]
            if name == "items":
                rows.append({})
            rows[-1][name] = float(number) if number and math.isfinite(float(number)) else None
            assert_written(name, element.text, rows[-1][name])
    for row, verdict in zip(rows, page.all("td", of="verdict"), strict=True):
        row["verdict"] = verdict.text.strip()[1:]
    return rows


def assert_written(name: str, text: str, number: float | None) -> None:
    """A text of the table is the number, to its last digit; what is judged by `tuned` alone has no `value` to see."""
    if number is None:
        assert not text.strip() or not math.isfinite(float(text)), (name, text)
    elif text.strip() or name != "value":
        last = 10.0 ** -len(text.strip().partition(".")[2])
        assert abs(float(text) - number) <= last / 2 + 1e-12, (name, text, number)


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
