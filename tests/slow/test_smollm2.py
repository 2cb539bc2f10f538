"""A real causal language model: SmolLM2-135M-Instruct as transformers saves it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import modelcheck
from modelcheck.report import TargetReport

pytestmark = pytest.mark.slow

# Bit-identical rows in four groups, ids 5, 7-16, 36743, 36744, 45175 and 48047.
IDENTICAL = (
    *("<file_sep>", "<gh_stars>", "<issue_start>", "<issue_comment>", "<issue_closed>", "<jupyter_start>"),
    *("<jupyter_text>", "<jupyter_code>", "<jupyter_output>", "<jupyter_script>", "<empty_output>"),
    *("PlaneProtection", "ManagementPlaneProtection", "transistorsum", "InstancePreprocess"),
)


@pytest.fixture(scope="module")
def report(cached: Callable[[str], Path]) -> TargetReport:
    [report] = modelcheck.lint(cached("smollm2"))
    return report


def test_everything_could_be_checked(report: TargetReport) -> None:
    assert (report.error, report.internal, report.skipped) == (None, [], [])


def test_pad_is_eos_is_its_only_error(report: TargetReport) -> None:
    assert [f.slug for f in report.findings if f.severity is modelcheck.Severity.ERROR] == ["pad-is-eos"]


def test_its_identical_rows_are_reported_with_their_tokens_named(report: TargetReport) -> None:
    messages = " ".join(f.message for f in report.findings if f.slug == "untrained-rows")
    assert [token for token in IDENTICAL if token not in messages] == []


def test_a_bos_that_is_also_the_start_of_a_turn_is_no_double_bos(report: TargetReport) -> None:
    assert "double-bos" not in {f.slug for f in report.findings}
