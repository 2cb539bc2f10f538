"""The template rules on real published templates, against how transformers renders them. Skips without the corpus."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from modelcheck import packs
from modelcheck.check import Check
from modelcheck.facts.chat_template import Template
from modelcheck.facts.conversations import conversations, rendered
from modelcheck.facts.special_tokens import SpecialToken, SpecialTokens
from modelcheck.finding import Finding, Severity
from modelcheck.render.renderer import Renderer

CORPUS = Path(__file__).parents[2] / "shared" / "corpus"
# The table was made with these; a template that prints one of them has an end that is known.
TOKENS = {"bos_token": "<s>", "eos_token": "<EOSX>", "unk_token": "<unk>", "pad_token": "<pad>"}
SPECIAL = SpecialTokens({role: SpecialToken(text, "", "") for role, text in TOKENS.items()})

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CORPUS / "expected" / "templates.tsv").exists(), reason="the corpus is not here"),
]

Found = dict[str, dict[str, Finding]]
Row = Mapping[str, str]


@pytest.fixture(scope="module")
def rows() -> dict[str, Row]:
    with (CORPUS / "expected" / "templates.tsv").open(encoding="utf-8", newline="") as table:
        return {row["file"]: row for row in csv.DictReader(table, delimiter="\t")}


@pytest.fixture(scope="module")
def found() -> Found:
    """{slug: {file: its finding}} of every rule that asks for rendered templates alone."""
    checks = [check for check in packs.load().checks if _asked(check) in ({"rendered"}, {"conversations"})]
    result: Found = {check.slug: {} for check in checks}
    with Renderer() as renderer:
        for path in sorted((CORPUS / "templates").glob("*.jinja")):
            template = Template(path.read_text(encoding="utf-8"), path.name, None)
            for check, findings in _run(template, renderer, checks):
                for finding in findings:
                    result[check.slug][path.name] = finding
    return result


def _run(template: Template, renderer: Renderer, checks: list[Check]) -> list[tuple[Check, list[Finding]]]:
    every = rendered({"default": template}, SPECIAL, renderer)
    healthy = conversations(every) if every["default"].healthy else {}
    facts = {"rendered": every, "conversations": healthy}
    return [(check, check.findings({name: facts[name] for name in _asked(check)})) for check in checks]


def _asked(check: Check) -> set[str]:
    return {need.name for need in check.needs if not need.optional}


def test_no_healthy_template_has_an_error(found: Found) -> None:
    errors = {
        (slug, file) for slug, files in found.items() for file, f in files.items() if f.severity is Severity.ERROR
    }
    assert errors == set()


@pytest.mark.parametrize(
    ("slug", "holds"),
    [
        ("template-broken", lambda row: row["user_only"] != "ok"),
        ("no-terminator", lambda row: row["asst_end"] == "none"),
        ("template-resource-bomb", lambda row: False),
    ],
)
def test_a_rule_agrees_with_the_table(
    slug: str, holds: Callable[[Row], bool], found: Found, rows: dict[str, Row]
) -> None:
    assert set(found[slug]) == {file for file, row in rows.items() if holds(row)}


def test_dates(found: Found, rows: dict[str, Row]) -> None:
    moving = {file for file, row in rows.items() if row["clock_dependent"] == "True"}
    assert moving <= set(found["template-date"])
    # The table was made without tools.
    assert all("has tools" in found["template-date"][file].message for file in set(found["template-date"]) - moving)
    dated = {file for file, row in rows.items() if row["date_in_render"] == "True"}
    assert set(found["template-date-frozen"]) <= dated - moving


def test_dropped_system_messages(found: Found, rows: dict[str, Row]) -> None:
    """The table gave strings; where a list of parts arrives, the rule is silent."""
    dropped = {file for file, row in rows.items() if row["system"] == "dropped"}
    assert set(found["system-dropped"]) <= dropped
    assert len(found["system-dropped"]) >= 8


def test_ignored_generation_prompts(found: Found, rows: dict[str, Row]) -> None:
    """The table says only that the text is the same; the rule is silent where nothing was to be added."""
    same = {file for file, row in rows.items() if row["agp_effect"] in ("ignored", "n/a")}
    assert set(found["generation-prompt-ignored"]) <= same
    assert len(found["generation-prompt-ignored"]) >= 13


def test_prompts_that_are_no_prefix(rows: dict[str, Row], found: Found) -> None:
    told = {name for name, f in found["prompt-not-prefix"].items() if f.severity is Severity.WARNING}
    unstable = {name for name, row in rows.items() if row["prefix_genprompt"] == "UNSTABLE"}
    assert told <= unstable
    # Guard models end with a question in prose, which is no prompt to go on from.
    assert all("guard" in name for name in unstable - told)
