"""The gate's report: a table for the terminal, markdown for a pull request, gate.json for programs."""

from __future__ import annotations

import html
import html.parser
import json
import re
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
from gate_samples import right, run

from modelcheck.dataset.example import Example
from modelcheck.finetune import gate_json
from modelcheck.finetune.gate import Floor, Guard, Policy, Target, compare, pair
from modelcheck.finetune.hints import Hint, explaining, least_likely, what_is_left
from modelcheck.finetune.rates import length, overfit, stop, truncation
from modelcheck.finetune.report import GateReport, markdown, row, text
from modelcheck.manual import SYMPTOMS

HOSTILE = "<script>|`x` @someone #1 [a](http://b) \u202e\x1b[31m\nnext"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
UNSTOPPED = "0 of 474 supervised labels are <|im_end|>: the model cannot learn to stop"
EOS = Hint(UNSTOPPED, "label audit, item data", SYMPTOMS[:1])
SLOW = Hint("use_cache is false", "CFG005 use-cache-false", (SYMPTOMS[5],))


def report(*, hints: tuple[Hint, ...] = (EOS, SLOW), tuned: int = 39) -> GateReport:
    """A run in which one guard failed and the model no longer stops."""
    base = run(right(100), prompt="copy sun tree", reference="sun tree", answers=["sun tree"] * 100, tokens=3)
    after = [
        replace(s, score=float(i < tuned), answer=HOSTILE if i >= tuned else s.answer, stopped=i < tuned, tokens=9)
        for i, s in enumerate(base)
    ]
    items, policy = pair(base, after), Policy()
    results = (
        compare(base, after, role=Guard(0.05), suite="copy", metric="exact"),
        compare(base, base, role=Guard(0.05), suite="add", metric="exact"),
        compare(run(right(10)), run(right(100)), role=Target(0.3), suite="last", metric="exact"),
        compare(base, after, role=Floor(0.98), suite="format", metric="json_schema"),
        stop(items, 0.98, policy),
        truncation(items, 0.02, policy),
        length(items, (0.5, 2.0), policy),
        overfit([run(right(55))], [run(right(100))], 0.15, policy),
    )
    return GateReport("rugby", results, policy, hints)


def test_the_table_has_a_row_for_every_result() -> None:
    lines = text(report()).splitlines()
    assert lines[1].split("  ")[0] == "suite"
    rows = [re.split(r"\s{2,}", line) for line in lines[2:10]]
    assert rows[0] == [
        "guard copy",
        "exact",
        "100x1",
        "1.00",
        "0.39",
        "-0.610",
        "[-0.691, -0.527]",
        "-0.05",
        "0.122",
        "FAIL",
    ]
    assert [row[0] for row in rows[1:]] == [
        "guard add",
        "target last",
        "floor format",
        *["behaviour"] * 3,
        "overfit mirror",
    ]
    assert [row[-1] for row in rows] == ["FAIL", "PASS", "PASS", "FAIL", "FAIL", "FAIL", "FAIL", "PASS"]


def test_a_failure_is_explained() -> None:
    lines = text(report(), width=1000).splitlines()
    assert f"likely cause: {UNSTOPPED} (label audit, item data)" in lines
    assert not any("use_cache" in line for line in lines)
    [copy] = [line for line in lines if line.startswith("FAIL: copy exact: fell from 1.000 to 0.390")]
    assert copy.endswith("next: mend the likely cause first, label audit, item data")
    assert any(line.startswith("got worse: copy") for line in lines)
    assert any(line.startswith("power: if nothing changed, all 2 guards pass together") for line in lines)
    assert any("training labels themselves are likely wrong" in line for line in lines)
    assert any(line.startswith("note: one training run") for line in lines)


def test_a_failure_that_nothing_explains_says_so() -> None:
    assert "likely cause: none that a static finding or an audit knows of" in text(report(hints=(SLOW,)), width=1000)


def test_hints_that_explain_more_come_first() -> None:
    less = Hint("a", "AAA001", (SYMPTOMS[1],))
    assert explaining(report().results, [less, SLOW, EOS]) == [EOS, less]


def test_worst_items_stand_side_by_side() -> None:
    lines = text(report()).splitlines()
    start = lines.index("worst items of copy exact (more in gate.json):")
    assert lines[start + 1] == "  item-0039  copy sun tree"
    assert lines[start + 2] == "    expected  sun tree"
    assert lines[start + 3] == "    base      sun tree = 1.00"
    assert lines[start + 4].startswith("    tuned     <script>|`x`")
    assert lines[start + 4].endswith("[cut] = 0.00")


def test_a_failed_floor_shows_what_fails_and_no_item_stands_twice() -> None:
    whole = report()
    for results, blocks in ((whole.results[3:4], 1), (whole.results, 1)):
        document = text(replace(whole, results=results))
        assert document.count("worst items of") == blocks
        assert document.count("  item-0039  copy sun tree") == 1


def test_nothing_in_an_answer_acts_on_the_terminal() -> None:
    assert all(c.isprintable() or c == "\n" for c in text(report()))


class Tags(html.parser.HTMLParser):
    """Collects the tags of a document."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)


def test_nothing_in_an_answer_acts_in_a_comment() -> None:
    document = markdown(report())
    parser = Tags()
    parser.feed(document)
    assert parser.tags == {"code", "details", "summary"}
    rows = [line for line in document.splitlines() if line.startswith("|<code>")]
    assert rows
    assert all(line.count("|") == 5 for line in rows)
    assert not re.search(r"@someone|#1\b|\]\(|`", document)


LINKS = ["www.evil.com", "WWW.evil.com", "GH-12", "gh-12", "@someone", "#1", COMMIT, COMMIT[:7]]
PLAIN = "last: GH-x, 0.5 of 123456 items, www and faded, 5 at +0.610"


@pytest.mark.parametrize("link", LINKS)
def test_nothing_outside_of_code_becomes_a_link_of_github(link: str) -> None:
    """GitHub looks for links in the texts between tags once more; a comment cuts them and is not seen."""
    document = markdown(report(hints=(Hint(f"see {link} of it", PLAIN, SYMPTOMS[:1]),)))
    seen = html.unescape(document)
    assert f"see {link} of it" not in seen
    assert f"see {link} of it" in seen.replace("<!-- -->", "")
    assert PLAIN in seen


def test_markdown_begins_with_the_outcome() -> None:
    assert markdown(report()).startswith("### modelcheck: rugby: fail\n\n|suite|metric|n x R|base|tuned|diff|90% CI|")
    assert len(markdown(report())) < 65_536


def test_what_the_model_was_tuned_for_is_marked() -> None:
    [result] = [result for result in report().results if result.role == "target"]
    assert row(replace(result, primary=True))[0] == f"{row(result)[0]} (primary)" == "target last (primary)"


def test_a_run_without_failures_is_short() -> None:
    base = run(right(100))
    good = GateReport("rugby", (compare(base, base, role=Guard(0.05), suite="copy"),), Policy())
    assert good.consequence == "pass"
    assert len(text(good).splitlines()) == 4


@pytest.mark.parametrize(("tuned", "outcome"), [(100, "pass"), (97, "warn"), (39, "fail")])
def test_the_worst_consequence_is_that_of_the_run(tuned: int, outcome: str) -> None:
    results = report(tuned=tuned).results[:3]
    assert GateReport("rugby", results, Policy()).consequence == outcome


NUMBER = {"type": "number"}
MAYBE = {"type": ["number", "null"]}
RESULT: dict[str, Any] = {
    "suite": {"type": "string"},
    "metric": {"type": "string"},
    "role": {"enum": ["guard", "target", "floor", "ceiling", "behaviour", "overfit"]},
    "primary": {"type": "boolean"},
    "items": {"type": "integer"},
    "clusters": {"type": "integer"},
    "repeats": {"type": "integer"},
    "base": MAYBE,
    "tuned": NUMBER,
    "value": MAYBE,
    "lower": MAYBE,
    "upper": MAYBE,
    "at_least": MAYBE,
    "at_most": MAYBE,
    "alpha": NUMBER,
    "mde": MAYBE,
    "verdict": {"enum": ["PASS", "FAIL", "INCONCLUSIVE"]},
    "consequence": {"enum": ["pass", "fail", "warn", "xfail"]},
    "needed": {"type": ["integer", "null"]},
    "needed_if": {"type": ["string", "null"]},
    "message": {"type": "string"},
    "lost": {"type": "array", "items": {"type": "string"}},
    "notes": {"type": "array", "items": {"type": "string"}},
    "slices": {"type": "object"},
    "worst": {"type": "array", "maxItems": 50},
    "pairs": {"type": ["object", "null"]},
}
DOCUMENT = {
    "type": "object",
    "required": ["schema", "modelcheck", "job", "consequence", "alpha", "power", "results", "regressed", "hints"],
    "properties": {
        "schema": {"const": 1},
        "results": {
            "type": "array",
            "items": {"type": "object", "required": list(RESULT), "properties": RESULT, "additionalProperties": False},
        },
    },
}


def test_gate_json_keeps_its_form() -> None:
    document = json.loads(gate_json.render(report()))
    jsonschema.validate(document, DOCUMENT)
    first = document["results"][0]
    assert (first["verdict"], first["pairs"]["losses"], len(first["worst"])) == ("FAIL", 61, 50)
    assert first["worst"][0]["tuned"][0][0]["answer"] == HOSTILE
    assert [hint["explains"] for hint in document["hints"]] == [True, False]


def test_what_is_not_known_is_null_in_gate_json() -> None:
    one = run([1.0])
    results = (compare(one, one, role=Guard(0.05)), length(pair(one, one), (0.5, 2.0), Policy()))
    document = json.loads(gate_json.render(GateReport("rugby", results, Policy())), parse_constant=pytest.fail)
    assert document["results"][0]["mde"] is None
    assert document["results"][1]["value"] is None


def test_slices_are_in_gate_json() -> None:
    topics = ["easy"] * 50 + ["hard"] * 50
    result = compare(run(right(100), slice=topics), run(right(60), slice=topics), role=Guard(0.05))
    document = json.loads(gate_json.render(GateReport("rugby", (result,), Policy())))
    assert document["results"][0]["slices"] == {
        "easy": {"base": 1.0, "tuned": 1.0, "items": 50},
        "hard": {"base": 1.0, "tuned": 0.2, "items": 50},
    }


def test_what_is_left_follows_from_the_loss_on_the_training_rows() -> None:
    failed = report().results
    unlearned, learned = what_is_left("target", 3.96, 1.11), what_is_left("floor", 2.15, 0.04)
    assert unlearned
    assert learned
    assert "from 3.96 to 1.11: the rows were not learned, so their answers are wrong" in unlearned.message
    assert "from 2.15 to 0.04: the rows were learned, so they teach something else" in learned.message
    assert explaining(failed, [unlearned]) == [unlearned]


def test_a_guard_is_not_told_to_mix_in_what_is_mixed_in() -> None:
    replayed, noise = (
        what_is_left("guard", 2.15, 0.04, replayed=1024),
        what_is_left("guard", 3.96, 1.11, "t, row 3 (9)"),
    )
    assert what_is_left("guard", 2.15, 0.04) is None
    assert replayed
    assert "the 1024 that repeat old skills did not keep this one" in replayed.message
    assert noise
    assert "wrong or contradict each other" in noise.message
    assert "read these first: t, row 3 (9), then" in noise.message


def test_rows_with_the_largest_losses_are_named_by_file_and_row() -> None:
    rows = [Example((), row, "replay.jsonl" if row > 15 else "train.jsonl") for row in range(10, 20)]
    said = least_likely([(n, 9.0 - n if n in (2, 7) else 0.1 / n) for n in range(1, 11)], rows)
    assert said.startswith("train.jsonl, row 11 (7), 10 (0.1), 12 (0.033), 13 (0.025); replay.jsonl, row 16 (2): ")
    assert said.endswith("(loss; the median is 0.022)")
    assert least_likely([], rows) == ""
