"""The report in a real Chromium with the network off: what it asks for, says, shows and lets itself be walked through.

Skipped without playwright and a Chromium: the one that MODELCHECK_CHROMIUM names, one called `chromium` in PATH, or
playwright's own.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import colours, contrast
from support import run

from modelcheck.demo import FAULTS
from modelcheck.testing import write_overlay

pytestmark = pytest.mark.slow

PHONE, DESK = 360, 1100
LONG = "x" * 200
HOSTILE = {
    "tokenizer_config.json": json.dumps({"pad_token": f"{LONG}<script>document.title = 'owned'</script>"}),
    "config.json": json.dumps({"model_type": LONG, "architectures": [f"<img src=http://example.org/{LONG}>"]}),
}
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


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as running:
        path = os.environ.get("MODELCHECK_CHROMIUM") or shutil.which("chromium")
        if path is None and not Path(running.chromium.executable_path).exists():
            pytest.skip("there is no Chromium: MODELCHECK_CHROMIUM may name one")
        chromium = running.chromium.launch(executable_path=path)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("report")
    planted = write_overlay(place / "planted", {name: json.dumps(patch) for name, patch in FAULTS.items()})
    hostile = write_overlay(place / LONG, HOSTILE)
    file = place / "report.html"
    run("lint", str(planted), str(hostile), str(place / "nowhere"), "--format", "html", "--output-file", str(file))
    return file


@pytest.fixture
def opened(browser: Any, report: Path) -> Iterator[Callable[..., Any]]:
    """Open the report. What it asks for, and what the console says, must be nothing when the test ends."""
    contexts, said, asked = [], [], []

    def open_page(width: int = DESK, scheme: str = "light", *, script: bool = True) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True, java_script_enabled=script
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(report.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert said == []
    assert set(asked) == {report.as_uri()}


def unfold(page: Any) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESK])
def test_it_fits_and_can_be_read(opened: Callable[..., Any], width: int, scheme: str, tmp_path: Path) -> None:
    page = opened(width, scheme)
    unfold(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    outside = "e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('pre, .skip')"
    assert page.evaluate(f"[...document.body.querySelectorAll('*')].filter({outside}).map(e => e.outerHTML)") == []
    texts = page.evaluate(READ_TEXT)
    assert len(texts) > 200
    assert {t: (ink, on) for t, ink, on in texts if contrast(_hex(ink), _hex(on)) < 4.5} == {}
    assert _hex(page.evaluate("getComputedStyle(document.body).backgroundColor")) == colours()[scheme]["ground"]
    # For people to look at, in the folder that pytest keeps.
    assert page.screenshot(path=tmp_path / f"{scheme}-{width}.png", full_page=True)


def test_a_hostile_checkpoint_does_nothing(opened: Callable[..., Any]) -> None:
    page = opened()
    assert page.title().startswith("modelcheck: 3 targets")
    assert "<script>document.title = 'owned'</script>" in page.inner_text("main")
    assert page.evaluate("document.querySelectorAll('script, img').length") == 0


def test_the_keyboard_reaches_everything_in_order(opened: Callable[..., Any]) -> None:
    page = opened()
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
    page.keyboard.press("Enter")  # the last one: the numbers of the picture, or a rule's manual
    assert page.evaluate("document.activeElement.parentElement.open")


def test_links_lead_to_their_targets(opened: Callable[..., Any]) -> None:
    page = opened()
    for link in page.query_selector_all(".cards a"):
        link.click()
        assert page.evaluate("document.activeElement.textContent.trim()") == link.inner_text()


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_the_picture_shows_what_its_table_says(opened: Callable[..., Any], width: int) -> None:
    page = opened(width)
    unfold(page)
    bars = page.eval_on_selector_all("svg >> nth=0 >> rect title", "all => all.map(t => t.textContent)")
    rows = page.eval_on_selector_all(
        "table >> nth=0 >> tbody tr", "all => all.map(r => [...r.cells].map(c => c.innerText))"
    )
    assert sorted(bars) == sorted(f"{norm}: {n} row{'s' * (n != '1')}" for norm, n in rows)
    assert sum(int(n) for _, n in rows) == 320
    texts = page.evaluate(
        "[...document.querySelector('svg').querySelectorAll('text')].map(t => t.getBoundingClientRect().toJSON())"
    )
    for i, one in enumerate(texts):
        for other in texts[i + 1 :]:
            apart = one["right"] <= other["left"] or other["right"] <= one["left"]
            assert apart or one["bottom"] <= other["top"] + 3 or other["bottom"] <= one["top"] + 3


def test_it_is_the_same_without_script(opened: Callable[..., Any]) -> None:
    assert opened(script=False).inner_text("main") == opened().inner_text("main")


def _hex(colour: str) -> str:
    """`rgb(1, 2, 3)` as #010203."""
    return "#" + "".join(f"{int(part):02x}" for part in colour.removeprefix("rgb(").removesuffix(")").split(","))
