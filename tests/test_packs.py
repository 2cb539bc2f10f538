"""Every rule's own examples, with all rules on: what `explain` shows is what is tested."""

from __future__ import annotations

import pytest

from modelcheck import Severity, packs
from modelcheck.check import Check
from modelcheck.manual import SYMPTOMS, examples, missing_headings, symptoms
from modelcheck.testing import lint_overlay, type_mismatches

CHECKS = packs.load().checks


def test_the_tiny_checkpoint_is_healthy() -> None:
    [report] = lint_overlay({})
    assert report.findings == []
    assert report.internal == []


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.slug)
def test_good_example_is_silent(check: Check) -> None:
    [report] = lint_overlay(examples(check.manual, "Good"))
    assert [f for f in report.findings if f.severity > Severity.INFO or f.slug == check.slug] == []
    assert report.internal == []


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.slug)
def test_bad_example_fires_and_nothing_else_is_an_error(check: Check) -> None:
    [report] = lint_overlay(examples(check.manual, "Bad"))
    assert check.slug in {f.slug for f in report.findings}
    assert {f.slug for f in report.findings if f.severity is Severity.ERROR} <= {check.slug}
    assert report.internal == []


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.slug)
def test_manual_has_all_headings(check: Check) -> None:
    assert missing_headings(check.manual) == []


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.slug)
def test_manual_names_symptoms_by_which_it_can_be_found(check: Check) -> None:
    assert symptoms(check.manual)
    assert set(symptoms(check.manual)) <= set(SYMPTOMS)


def test_annotations_agree_with_the_facts() -> None:
    assert type_mismatches() == []
