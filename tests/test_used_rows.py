"""`--weights used`: what the rows in use and a sample tell, and what they cannot tell."""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from typing import Any

import pytest

from modelcheck.facts.used_rows import BLOCKS, SAMPLE_ROWS, _blocks
from modelcheck.finding import Finding
from modelcheck.report import TargetReport
from modelcheck.testing import lint_overlay

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
# In the sample of one row in ten, and not in it.
SAMPLED, UNREAD = "100", "105"


@pytest.fixture(autouse=True)
def small_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    # The package has a function of the same name as the module.
    monkeypatch.setattr(sys.modules["modelcheck.facts.used_rows"], "SAMPLE_ROWS", 32)


def lint(tensors: dict[str, Any], **files: Any) -> TargetReport:
    overlay = {
        "tensors.json": json.dumps(tensors),
        **{f"{name}.json": json.dumps(patch) for name, patch in files.items()},
    }
    [report] = lint_overlay(overlay, weights="used")
    assert report.internal == []
    return report


def found(report: TargetReport, slug: str) -> Finding:
    [finding] = [finding for finding in report.findings if finding.slug == slug]
    return finding


def reason(report: TargetReport, slug: str) -> str:
    [skipped] = [skipped for skipped in report.skipped if skipped.slug == slug]
    return skipped.reason


def test_the_sample_is_spread_over_the_whole_matrix_in_blocks() -> None:
    ids = list(_blocks(128256, SAMPLE_ROWS))
    assert len(ids) == len(set(ids)) == SAMPLE_ROWS
    assert sum(later - earlier > 1 for earlier, later in pairwise(ids)) == BLOCKS - 1
    assert (ids[0], ids[-1]) == (0, 31 * 128256 // 32 + 63)
    assert set(_blocks(20, SAMPLE_ROWS)) == set(range(20))
    assert list(_blocks(5, 0)) == [0]


def test_untrained_rows_that_were_read() -> None:
    message = found(lint({EMBEDDING: {SAMPLED: "zeros", "4": "zeros", UNREAD: "zeros"}}), "untrained-rows").message
    assert message.startswith(f"2 of the 37 rows read (of 320) of {EMBEDDING} are near zero")


def test_an_untrained_row_that_was_not_read_is_not_called_trained() -> None:
    report = lint({EMBEDDING: {UNREAD: "zeros"}})
    assert reason(report, "untrained-rows") == (
        f"the 37 rows read (of 320) of {EMBEDDING} show none (--weights embeddings)"
    )


@pytest.mark.parametrize("change", [{"2": "zeros"}, {"2": 5}], ids=["zero", "as-a-reserved-one"])
def test_an_untrained_row_in_use(change: dict[str, Any]) -> None:
    assert "'<|im_start|>' (id 2) is in use" in found(lint({EMBEDDING: change}), "untrained-token-used").message


def test_a_stop_id_that_is_no_added_token_is_read() -> None:
    report = lint({EMBEDDING: {UNREAD: "zeros"}}, generation_config={"eos_token_id": [3, int(UNREAD)]})
    assert f"(id {UNREAD}) is in use" in found(report, "untrained-token-used").message


def test_values_that_are_not_finite() -> None:
    assert f"[{SAMPLED}, 0]" in found(lint({EMBEDDING: {SAMPLED: "nan"}}), "non-finite-weights").message
    for unread in ({UNREAD: "nan"}, {UNREAD: "normal"}):
        assert "37 of 320 rows" in reason(lint({EMBEDDING: unread}), "non-finite-weights")


def test_a_head_beside_a_tied_embedding() -> None:
    differs = found(lint({}, config={"tie_word_embeddings": True}), "tied-but-two-heads")
    assert "for example in row 0" in differs.message
    equal = {EMBEDDING: ["BF16", [320, 64], "ones"], HEAD: ["BF16", [320, 64], "ones"]}
    report = lint(equal, config={"tie_word_embeddings": True})
    assert reason(report, "tied-but-two-heads") == "the rows of both that were read are equal (--weights embeddings)"
