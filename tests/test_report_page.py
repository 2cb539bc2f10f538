"""The report of a job as a page: its numbers are those of gate.json, what others wrote is only text."""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from gate_samples import right, run
from pages import Page, assert_in_order, assert_loads_nothing, results_shown
from report_records import ATTACK, LONG, STEPS, UNSTOPPED, failed, passed, results, stopped

from modelcheck.finding import Severity
from modelcheck.finetune import gate_json
from modelcheck.finetune.gate import Guard, Policy, compare
from modelcheck.finetune.job_record import JobRecord, losses
from modelcheck.finetune.outcome import FAILED, PASSED, SMOKE, WARNED, Outcome
from modelcheck.finetune.report import GateReport
from modelcheck.finetune.report_answer import answer
from modelcheck.finetune.report_page import LONGEST, SHOWN, render
from modelcheck.finetune.samples import Sample
from modelcheck.finetune.verdict import Verdict
from modelcheck.output.curves import MOST_POINTS, Series, curves
from modelcheck.output.intervals import Interval, intervals
from modelcheck.output.text import printable

KINDS: dict[str, Callable[[], JobRecord]] = {
    "failed": failed,
    "seeds": functools.partial(failed, (0, 1, 2)),
    "stopped": stopped,
    "passed": passed,
}


@functools.cache
def page(kind: str) -> Page:
    return Page(render(KINDS[kind]()))


def spaced(text: str) -> str:
    return " ".join(text.split())


# ------------------------------------------------------------------ every page


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_in_order_and_loads_nothing(kind: str) -> None:
    assert_in_order(page(kind))
    assert_loads_nothing(page(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_the_answer_comes_first_and_no_section_vanishes(kind: str) -> None:
    sections = [e.attributes["id"] for e in page(kind).all("h2")]
    assert sections == ["answer", "do", "verdicts", "pictures", "worst", "loss", "labels", "steps", "settings"]
    links = [e.attributes["href"].removeprefix("#") for e in page(kind).all("a")][1:]
    assert links == sections[1:]


@pytest.mark.parametrize("kind", KINDS)
def test_every_number_is_that_of_gate_json(kind: str) -> None:
    document = json.loads(gate_json.render(KINDS[kind]().made))
    assert results_shown(page(kind)) == [
        {name: r[name] for name in ("items", "base", "tuned", "value", "lower", "upper", "verdict")}
        for r in document["results"]
    ]


@pytest.mark.parametrize("kind", ["failed", "stopped"])
def test_what_others_wrote_is_only_text(kind: str) -> None:
    shown = page(kind)
    assert printable(ATTACK.split("\n")[0]) in shown.text
    assert "{{ 7 * 7 }}" in shown.text
    assert all(c.isprintable() or c == "\n" for c in shown.source)


# ------------------------------------------------------------------ the answer


def of(tuned: int, **changes: Any) -> JobRecord:
    """A job with one guard whose base knew all of 100 items and whose tuned model knows so many."""
    guard = compare(run(right(100)), run(right(tuned)), role=Guard(0.05), suite="copy")
    verdict = {"PASS": PASSED, "FAIL": FAILED, "INCONCLUSIVE": WARNED}[guard.verdict]
    outcomes = (Outcome("data", PASSED), Outcome("guard-copy", verdict, results=(guard,)))
    return passed(made=GateReport("rugby", (guard,), Policy()), outcomes=outcomes, **changes)


STRICT, TOLD = Policy(on_inconclusive="fail"), of(97).made.results
SMOKED = tuple(replace(result, verdict=Verdict.SMOKE) for result in results()[:1])
ANSWERS = {
    "pass": (of(100), "clean", "The one demand is met: guard copy went from 1.00 to 1.00 (a fall of 0.05 is allowed)."),
    "fail": (
        of(39),
        "error",
        "1 of 1 demand is not met: guard copy fell from 1.00 to 0.39 (a fall of 0.05 is allowed).",
    ),
    "warn": (
        of(97),
        "warning",
        "1 of 1 demand is not decided by these items: guard copy fell from 1.00 to 0.97",
    ),
    "warn fails": (
        replace(
            of(97), made=GateReport("a", of(97).made.results, STRICT), outcomes=[Outcome("x", FAILED, results=TOLD)]
        ),
        "error",
        "1 of 1 demand is not decided by these items, which counts as a failure here: guard copy fell",
    ),
    "part": (of(100, steps=STEPS), "unsure", "7 of 9 steps were not asked for."),
    "stopped": (stopped(), "error", "The step data stopped the job, 7 steps did not run: 0 of 474 supervised labels"),
    "step": (
        passed(outcomes=[Outcome("data", WARNED, "a"), Outcome("guard-copy", PASSED)]),
        "warning",
        "The one demand is met, but there is a warning to read from data.",
    ),
    "smoke": (
        passed(made=GateReport("a", SMOKED, Policy(smoke=True)), outcomes=[Outcome("guard-copy", SMOKE)]),
        "unsure",
        "Only some of the items were asked (eval.limit), to see that everything runs.",
    ),
    "broken verdict": (
        passed(outcomes=[Outcome("data", PASSED), Outcome("guard-copy", FAILED, "not comparable: other items.\nmore")]),
        "error",
        "The step guard-copy failed: not comparable: other items.",
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_the_answer_says_what_decided(name: str) -> None:
    record, state, sentence = ANSWERS[name]
    assert answer(record).state == state
    assert sentence in answer(record).sentence
    shown = Page(render(record))
    assert state in shown.all("section", of="answer")[0].attributes["class"].split()
    assert spaced(printable(answer(record).sentence)) in shown.text


def test_what_is_to_do_names_the_cause_once_and_what_to_type() -> None:
    shown = page("failed")
    titles = [spaced(e.text) for e in shown.all("h3") if "article" in e.path]
    assert titles == ["✕Likely cause", "✕5 demands not met, likely for that cause", "!guard add: INCONCLUSIVE"]
    assert [e.text for e in shown.all("pre")] == [
        "modelcheck explain label-without-end",
        "pytest --finetune-eval modelcheck.toml::rugby",
    ]
    assert "Next: mend the likely cause first." in shown.text
    assert "Nothing: no step failed and no demand is left open." in page("passed").text


def test_a_stopped_job_says_why_each_part_is_missing() -> None:
    text = page("stopped").text
    for reason in ("No verdict:", "No interval:", "None: there is no verdict", "No loss: training did not begin"):
        assert reason in text
    assert "data failed" in text
    assert "24 of 40 tokens carry loss" in text
    words = [e.text for e in page("stopped").all("span", of="word") if "ol" in e.path]
    assert words == ["pass", "fail", "error"] + 7 * ["not run"]
    assert "No labels: they were not audited in this run" in page("passed").text


# ------------------------------------------------------------------ items


def test_worst_items_stand_side_by_side_with_the_judges_reason() -> None:
    shown = page("seeds")
    [first, *_] = shown.all("dl", of="sides")
    assert [e.text.split(" 0.")[0] for e in shown.all("dt") if "dl" in e.path and "li" in e.path][:5] == [
        "expected", "base 1.00", "tuned, seed 0", "tuned, seed 1", "tuned, seed 2",
    ]  # fmt: skip
    assert "cut off" in first.text
    assert spaced(f"The judge: the answer goes on: {printable(ATTACK.split(chr(10))[0])}") in spaced(first.text)
    whole = len(f"seed 0: {ATTACK}{LONG * 9}")
    assert f"… {whole - LONGEST:,} more characters" in first.text


def test_an_item_stands_under_one_demand_only() -> None:
    names = [e.text for e in page("failed").all("p", of="asked")]
    assert len(names) == len(set(names))
    assert len([n for n in names if n.startswith("item-0039")]) == 1
    assert len(names) <= 2 * SHOWN


def test_an_empty_answer_is_told_from_none() -> None:
    empty = [Sample(item="a", answer="", score=0.0, prompt="p", reference=["x", 1])]
    result = compare(empty, empty, role=Guard(0.05), suite="copy")
    shown = Page(render(passed(made=GateReport("rugby", (result,), Policy()))))
    sides = [e.text.strip() for e in shown.all("dd") if "li" in e.path]
    assert sides[:3] == ['["x", 1]', "(empty)", "(empty)"]


# ------------------------------------------------------------------ loss, labels, steps, settings


def test_each_seed_is_a_line_and_a_column() -> None:
    shown = page("seeds")
    names = [f"{kind}, seed {n}" for n in range(3) for kind in ("training", "held-out rows")]
    heads = [e.text for e in shown.all("th") if e.attributes.get("role") == "columnheader" and "details" in e.path]
    assert heads == ["step", *names]
    looks = ["curve dash-0", "curve sparse dash-0", "curve dash-1", "curve sparse dash-1", "curve dash-2"]
    assert [e.attributes["class"] for e in shown.all("g", of="curve")][:5] == looks
    legend = [e.attributes["class"] for e in shown.all("g", of="curve") if "figcaption" in e.path]
    assert legend == [*looks, "curve sparse dash-2"]
    assert "The loss is no number at 1 step of training, seed 0, the first of them step 10." in shown.text


def test_a_resumed_log_counts_each_step_once_and_a_torn_line_not() -> None:
    found = losses(0, ['{"step": 1, "loss": 9}', '{"step": 1, "loss": 2}', '{"step": 2, "eval_loss": 3}', '{"step"'])
    assert (found.train, found.evaluation) == ({1: 2}, {2: 3})


def test_labels_show_what_carries_loss() -> None:
    tokens = [(e.text, e.attributes["class"]) for e in page("failed").all("span", of="token") if "p" in e.path]
    kinds = [kind for _, kind in tokens[2:7]]  # after the two of the legend
    assert kinds == ["token", "token loss", "token loss", "token end", "token"]
    assert tokens[6][0] == "↵\n"


def test_of_a_long_row_the_part_around_the_loss_is_shown() -> None:
    row = {"row": 1, "ids": [5] * 3000, "texts": ["t"] * 3000, "supervised": [False] * 2000 + [True] * 1000}
    shown = Page(render(replace(failed(), preview=[row])))
    assert "… 1,960 tokens before" in shown.text
    assert "… and 800 tokens more" in shown.text
    assert "1000 of 3,000 tokens carry loss" in shown.text


def test_findings_stand_under_their_steps() -> None:
    steps = [e for e in page("stopped").all("li") if e.path[-1] == "ol"]
    assert [spaced(e.text).split()[0][1:] for e in steps] == list(STEPS)
    assert f"TRN001 label-without-end at {UNSTOPPED.file}:{UNSTOPPED.at}" in spaced(steps[1].text)
    assert str(Severity.ERROR) in steps[1].text


def test_settings_have_no_secrets_no_folders_of_a_machine_and_hashes_are_short() -> None:
    text = page("failed").text
    assert "scorer.api_key(hidden)" in text
    assert "/home/someone" not in text
    assert "Basemodels/base" in text
    assert "weightsa1a1a1a1a1a1b2b2b2b2b2b2" in text
    assert "eos 2, pad none" in text
    assert "Not known: no suite was answered by both models" in page("stopped").text


# ------------------------------------------------------------------ pictures

EDGE = Interval(
    name="a", kind="score", value=0.0, lower=-0.02, upper=0.02, at_least=-0.05, at_most=None,
    asked="", verdict="PASS", state="clean",
)  # fmt: skip


def test_places_say_what_the_numbers_say() -> None:
    drawn = intervals([EDGE, replace(EDGE, value=0.5, lower=0.4, upper=0.6, at_least=0.3)], origin=0.0)
    first, second = drawn.rows
    assert first.ends is not None
    assert first.point == drawn.origin
    assert first.limits[0] < first.ends[0] < (first.point or 0) < first.ends[1]
    assert second.ends is not None
    assert second.limits[0] < second.ends[0]
    assert first.allowed[0] == first.limits[0]
    assert sum(first.allowed) == 100


def test_what_has_no_bounds_is_drawn_without() -> None:
    one = replace(EDGE, lower=-math.inf, upper=math.nan)
    [row] = intervals([one], origin=0.0).rows
    assert (row.ends, row.point is not None) == (None, True)
    [none] = intervals([replace(one, value=math.nan)], origin=0.0).rows
    assert none.point is None


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1.04, 1.04), (0.3, 0.31), (0, 7), (0, 99_999), (-1e-9, 1e-9)])
def test_an_axis_has_a_few_round_numbers(low: float, high: float) -> None:
    ticks = intervals([], whole=(low, high)).ticks
    assert 2 <= len(ticks) <= 6
    for place, number in ticks:
        assert place == pytest.approx(100 * (float(number) - low) / (high - low), abs=0.01)
        assert len(number) <= 6
    assert len({number for _, number in ticks}) == len(ticks)


def test_a_long_run_is_drawn_as_means_and_listed_in_part() -> None:
    drawn = curves([Series("a", dict.fromkeys(range(1, 10001), 1.0)), Series("b", {10_000: 2.0}, sparse=True)])
    assert drawn is not None
    assert drawn.together == 50
    shown = Page(f"<body>{drawn.svg}</body>")
    [line] = [e.attributes["d"] for e in shown.all("path") if e.attributes["class"] == "line reactive nofill"]
    assert len(line.split()) == 2 * MOST_POINTS
    assert len(shown.all("circle", of="dot")) == 1
    assert [drawn.table[0][0], drawn.table[-1][0]] == [1, 10_000]
    assert len(drawn.table) <= 24


def test_a_loss_lies_where_its_number_says() -> None:
    drawn = curves([Series("a", {50: 3.0, 10: 1.0, 30: math.nan, 40: 2.5}, sparse=True)])
    assert drawn is not None
    places = [[float(e.attributes[a]) for a in ("cx", "cy")] for e in Page(f"<body>{drawn.svg}</body>").all("circle")]
    (left, low), (middle, between), (right, high) = places
    assert (middle - left) / (right - left) == pytest.approx((40 - 10) / (50 - 10))
    assert (low - between) / (low - high) == pytest.approx((2.5 - 1) / (3 - 1))
    assert left < right
    assert high < low


def test_a_log_without_a_number_is_no_picture() -> None:
    assert curves([]) is None
    assert curves([Series("a", {1: math.nan})]) is None
    never = replace(failed(), losses=[losses(0, [])])
    assert "No step was logged." in Page(render(never)).text


def test_devices_are_named_and_packages_left_to_a_file() -> None:
    page = Page(render(failed()))
    assert re.search(r"GPUs of train\s*H100, H100", page.text)
    assert "GPUs of eval" not in page.text
    assert "six" not in page.text
