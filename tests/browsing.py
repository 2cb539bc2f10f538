"""A page of HTML as Chromium shows it: what it asks for and says, whether it fits, can be read and walked through."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pages import Page, assert_written, colours, contrast, results_shown

PHONE, TABLET, DESK = 360, 700, 1100
ROOT = Path(__file__).parent.parent
# Where the lane keeps what people shall look at.
REPORTS = ROOT / ".cache" / "reports"
QUIET = ("quic", "background-networking", "component-update", "sync")
# Every text on the page with its colour and that of the nearest ground behind it.
READ_TEXT = """() => {
  const opaque = c => !/^rgba\\(.*, 0\\)$|^transparent$/.test(c), found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    const of = node.parentElement;
    if (!node.data.trim() || !of.checkVisibility() || of.closest('.skip')) continue;
    let ground = of;
    while (ground.parentElement && !opaque(getComputedStyle(ground).backgroundColor)) ground = ground.parentElement;
    const style = getComputedStyle(of);
    const ink = of.closest('svg') ? style.fill : style.color;
    found.push([node.data.trim().slice(0, 40), ink, getComputedStyle(ground).backgroundColor]);
  }
  return found;
}"""
FOCUSED = """() => {
  const e = document.activeElement, box = e.getBoundingClientRect();
  const outline = getComputedStyle(e).outlineStyle;
  return [e.tagName, e.textContent.trim(), outline, box.top + scrollY, box.width * box.height];
}"""
# Of each row of verdicts, what a reader sees: the numbers by name, and the word.
SEEN = """all => all.map(row => [
  [...row.querySelectorAll('data')].map(d => [d.className, d.innerText]), row.querySelector('.verdict .word').innerText,
])"""
OUTSIDE = "e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('pre, .skip')"

# A column that others leave no room: its words are broken after a letter or two.
SQUEEZED = "e => e.matches('tbody th') && e.checkVisibility() && e.innerText.length > 3 && e.clientWidth < 50"


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless Chromium: the one that MODELCHECK_CHROMIUM names, one in PATH, or playwright's own. None: skipped."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as running:
        path = os.environ.get("MODELCHECK_CHROMIUM") or shutil.which("chromium")
        if path is None and not Path(running.chromium.executable_path).exists():
            pytest.skip("there is no Chromium: MODELCHECK_CHROMIUM may name one")
        options = ["--no-first-run", "--disable-gpu", *(f"--disable-{name}" for name in QUIET)]
        browser = running.chromium.launch(executable_path=path, args=options)
        yield browser
        browser.close()


class Reader:
    """Opens pages with the network off. What they asked for, and what the console said, is kept."""

    def __init__(self, browser: Any) -> None:
        self._browser = browser
        self._contexts: list[Any] = []
        self.said: list[str] = []
        self.asked: set[str] = set()
        self.opened: set[str] = set()

    def open(self, file: Path, width: int = DESK, scheme: str = "light", *, script: bool = True) -> Any:
        """A page of a browser of its own. `script` is for the test's questions: the page has none."""
        context = self._browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True, java_script_enabled=script
        )
        self._contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", lambda request: self.asked.add(request.url))
        self.opened.add(file.as_uri())
        page.goto(file.as_uri())
        return page

    def close(self) -> None:
        """Close what is open. Nothing but the pages themselves was asked for, and the console stayed silent."""
        for context in self._contexts:
            context.close()
        assert self.said == []
        assert self.asked == self.opened


def unfold(page: Any) -> None:
    """Open all details."""
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")


def assert_fits(page: Any, *widths: int) -> None:
    """At these widths of the window, nothing is wider, and no row's name too narrow to be read."""
    for width in widths:
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for wrong in (OUTSIDE, SQUEEZED):
            assert (
                page.evaluate(f"[...document.body.querySelectorAll('*')].filter({wrong}).map(e => e.outerHTML)") == []
            )


def assert_results_shown(page: Any, results: Sequence[Mapping[str, Any]]) -> None:
    """The table of verdicts holds the results of gate.json, and a reader sees the same at a desk and on a phone."""
    shown = results_shown(Page(page.content()))
    assert shown == [{key: result[key] for key in shown[0]} for result in results]
    for width in (DESK, PHONE):
        page.set_viewport_size({"width": width, "height": 800})
        seen = page.eval_on_selector_all(".verdicts tbody tr", SEEN)
        assert [word for _, word in seen] == [result["verdict"] for result in results]
        for (numbers, _), result in zip(seen, results, strict=True):
            assert {name for name, _ in numbers} == shown[0].keys() - {"verdict"}
            for name, text in numbers:
                assert_written(name, text, result[name])


def keep_pictures(reader: Reader, file: Path, name: str, record: Callable[[str, object], None]) -> None:
    """Screenshots for people to look at: light, dark and narrow. The lane's output names them."""
    for kind, width, scheme in (("light", DESK, "light"), ("dark", DESK, "dark"), ("narrow", PHONE, "light")):
        path = REPORTS / f"{name}-{kind}.png"
        reader.open(file, width, scheme).screenshot(path=path, full_page=True)
        record("picture", str(path.relative_to(ROOT)))


def assert_can_be_read(page: Any, scheme: str) -> int:
    """Every text stands out from its ground, 4.5 to 1; the number of texts."""
    texts = page.evaluate(READ_TEXT)
    assert {t: (ink, on) for t, ink, on in texts if contrast(_hex(ink), _hex(on)) < 4.5} == {}
    assert _hex(page.evaluate("getComputedStyle(document.body).backgroundColor")) == colours()[scheme]["ground"]
    return len(texts)


def assert_keyboard_reaches_everything(page: Any) -> None:
    """Tab goes to each link and each summary, in order and to be seen; Enter opens the last."""
    wanted = page.evaluate("[...document.querySelectorAll('a, summary')].map(e => [e.tagName, e.textContent.trim()])")
    places = []
    for tag, text in wanted:
        page.keyboard.press("Tab")
        got = page.evaluate(FOCUSED)
        assert got[:2] == [tag, text]
        assert got[2] != "none"
        assert got[4] > 0
        places.append(got[3])
    assert places[1:] == sorted(places[1:])
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.tagName != 'SUMMARY' || document.activeElement.parentElement.open")


def assert_texts_stand_apart(page: Any, within: str) -> None:
    """No two texts of a picture lie on each other."""
    script = "e => [...e.querySelectorAll('text')].map(t => t.getBoundingClientRect().toJSON())"
    texts = page.eval_on_selector(within, script)
    for i, one in enumerate(texts):
        for other in texts[i + 1 :]:
            apart = one["right"] <= other["left"] or other["right"] <= one["left"]
            assert apart or one["bottom"] <= other["top"] + 3 or other["bottom"] <= one["top"] + 3


def _hex(colour: str) -> str:
    """`rgb(1, 2, 3)` as #010203."""
    return "#" + "".join(f"{int(part):02x}" for part in colour.removeprefix("rgb(").removesuffix(")").split(","))
