"""The report of a fine-tune in a real Chromium with the network off: hostile texts, long words, several seeds."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from browsing import (
    DESK,
    PHONE,
    TABLET,
    Reader,
    assert_can_be_read,
    assert_fits,
    assert_keyboard_reaches_everything,
    assert_results_shown,
    assert_texts_stand_apart,
    keep_pictures,
    unfold,
)
from report_records import LABELS, PREVIEW, failed, passed, stopped

from modelcheck.finetune import gate_json
from modelcheck.finetune.job_record import JobRecord
from modelcheck.finetune.label_preview import page as label_page
from modelcheck.finetune.report_page import render

pytestmark = pytest.mark.slow

JOBS: dict[str, Callable[[], JobRecord]] = {
    "failed": failed,
    "seeds": partial(failed, (0, 1, 2, 3)),
    "stopped": stopped,
    "passed": passed,
}
# What stands beside each interval: its name, then its value and bounds as written and as they are.
INTERVALS = """all => all.map(row => [
  row.querySelector('.name').innerText, row.querySelector('.ruling .word').innerText,
  ...[...row.querySelectorAll('data')].flatMap(d => [d.innerText, Number(d.value)]),
])"""
# Where the marks of each interval lie: the estimate, and the ends of its line, in pixels from the left.
MARKS = """all => all.map(row => [
  (r => (r.left + r.right) / 2)(row.querySelector('.mark').getBoundingClientRect()),
  ...[...row.querySelectorAll('.range')].slice(1).map(e => e.getBoundingClientRect().left),
])"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """{job: its report}, and the preview of labels."""
    folder = tmp_path_factory.mktemp("reports")
    made = {name: render(record()) for name, record in JOBS.items()} | {
        "labels": label_page(PREVIEW, LABELS["end_ids"])
    }
    for name, text in made.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in made}


@pytest.mark.parametrize("name", [*JOBS, "labels"])
def test_it_fits(reader: Reader, pages: dict[str, Path], name: str) -> None:
    page = reader.open(pages[name])
    unfold(page)
    assert_fits(page, DESK, TABLET, PHONE)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["failed", "stopped", "labels"])
def test_it_can_be_read(reader: Reader, pages: dict[str, Path], name: str, scheme: str) -> None:
    page = reader.open(pages[name], scheme=scheme)
    unfold(page)
    assert assert_can_be_read(page, scheme) > 10


@pytest.mark.parametrize("name", ["stopped", "labels"])
def test_pictures_are_kept(
    reader: Reader, pages: dict[str, Path], name: str, record_property: Callable[[str, object], None]
) -> None:
    keep_pictures(reader, pages[name], f"job-{name}", record_property)


@pytest.mark.parametrize("name", ["failed", "passed"])
def test_its_numbers_are_those_of_gate_json(reader: Reader, pages: dict[str, Path], name: str) -> None:
    page = reader.open(pages[name])
    document = json.loads(gate_json.render(JOBS[name]().made))
    assert_results_shown(page, document["results"])
    for interval in page.eval_on_selector_all(".intervals > li:not(.scale)", INTERVALS):
        label, verdict, *numbers = interval
        named = " ".join(label.split())
        [result] = [r for r in document["results"] if named.endswith(f"{r['suite']} {r['metric']}")]
        assert verdict == result["verdict"]
        assert numbers[1::2] == [result["value"], result["lower"], result["upper"]]
        for written, exact in zip(numbers[::2], numbers[1::2], strict=True):
            assert math.isclose(float(written), exact, abs_tol=0.00051)


def test_marks_lie_where_the_numbers_say(reader: Reader, pages: dict[str, Path]) -> None:
    page = reader.open(pages["failed"])
    numbers = page.eval_on_selector_all(".intervals >> nth=0 >> li:not(.scale)", INTERVALS)
    places = page.eval_on_selector_all(".intervals >> nth=0 >> li:not(.scale)", MARKS)
    known = [(n, p) for row, marks in zip(numbers, places, strict=True) for n, p in zip(row[3::2], marks, strict=True)]
    (low, left), (high, right) = min(known), max(known)
    scale = (right - left) / (high - low)
    assert scale > 100
    assert all(abs(left + (number - low) * scale - place) < 2.5 for number, place in known)


def test_hostile_texts_do_nothing(reader: Reader, pages: dict[str, Path]) -> None:
    for name in ("failed", "stopped", "labels"):
        page = reader.open(pages[name])
        assert page.title().startswith("modelcheck: ")
        assert "<script>document.title = 1</script>" in page.inner_text("main")
        assert page.evaluate("document.querySelectorAll('script, img').length") == 0


@pytest.mark.parametrize("name", ["failed", "stopped"])
def test_the_keyboard_reaches_everything_in_order(reader: Reader, pages: dict[str, Path], name: str) -> None:
    assert_keyboard_reaches_everything(reader.open(pages[name]))


def test_the_loss_can_be_read_on_a_phone(reader: Reader, pages: dict[str, Path]) -> None:
    for width in (PHONE, DESK):
        assert_texts_stand_apart(reader.open(pages["seeds"], width), "figure > svg")


def test_links_lead_to_their_sections(reader: Reader, pages: dict[str, Path]) -> None:
    page: Any = reader.open(pages["failed"])
    for link in page.query_selector_all(".jump a"):
        link.click()
        assert page.evaluate("'#' + document.activeElement.id") == link.get_attribute("href")
