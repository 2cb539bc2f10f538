"""The report of `modelcheck lint` in a real Chromium with the network off. Skipped where there is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from browsing import (
    DESK,
    PHONE,
    TABLET,
    Reader,
    assert_can_be_read,
    assert_fits,
    assert_keyboard_reaches_everything,
    assert_texts_stand_apart,
    keep_pictures,
    unfold,
)
from support import run

from modelcheck.demo import FAULTS
from modelcheck.testing import write_overlay

pytestmark = pytest.mark.slow

LONG = "x" * 200
HOSTILE = {
    "tokenizer_config.json": json.dumps({"pad_token": f"{LONG}<script>document.title = 'owned'</script>"}),
    "config.json": json.dumps({"model_type": LONG, "architectures": [f"<img src=http://example.org/{LONG}>"]}),
}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("report")
    planted = write_overlay(place / "planted", {name: json.dumps(patch) for name, patch in FAULTS.items()})
    hostile = write_overlay(place / LONG, HOSTILE)
    file = place / "report.html"
    run("lint", str(planted), str(hostile), str(place / "nowhere"), "--format", "html", "--output-file", str(file))
    return file


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_can_be_read(reader: Reader, report: Path, scheme: str) -> None:
    page = reader.open(report, DESK, scheme)
    unfold(page)
    assert_fits(page, DESK, TABLET, PHONE)
    assert assert_can_be_read(page, scheme) > 200


def test_pictures_are_kept(reader: Reader, report: Path, record_property: Callable[[str, object], None]) -> None:
    keep_pictures(reader, report, "lint", record_property)


def test_a_hostile_checkpoint_does_nothing(reader: Reader, report: Path) -> None:
    page = reader.open(report)
    assert page.title().startswith("modelcheck: 3 targets")
    assert "<script>document.title = 'owned'</script>" in page.inner_text("main")
    assert page.evaluate("document.querySelectorAll('script, img').length") == 0


def test_the_keyboard_reaches_everything_in_order(reader: Reader, report: Path) -> None:
    assert_keyboard_reaches_everything(reader.open(report))


def test_links_lead_to_their_targets(reader: Reader, report: Path) -> None:
    page = reader.open(report)
    for link in page.query_selector_all(".cards a"):
        link.click()
        assert page.evaluate("document.activeElement.textContent.trim()") == link.inner_text()


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_the_picture_shows_what_its_table_says(reader: Reader, report: Path, width: int) -> None:
    page = reader.open(report, width)
    unfold(page)
    bars = page.eval_on_selector_all("svg >> nth=0 >> .histbar title", "all => all.map(t => t.textContent)")
    rows = page.eval_on_selector_all(
        "table >> nth=0 >> tbody tr", "all => all.map(r => [...r.cells].map(c => c.innerText))"
    )
    assert sorted(bars) == sorted(f"{norm}: {n} row{'s' * (n != '1')}" for norm, n in rows)
    assert sum(int(n) for _, n in rows) == 320
    assert_texts_stand_apart(page, "svg")


def test_it_is_the_same_without_script(reader: Reader, report: Path) -> None:
    assert reader.open(report, script=False).inner_text("main") == reader.open(report).inner_text("main")
