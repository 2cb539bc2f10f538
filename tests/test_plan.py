"""Fixes put together: what is left out and why, what conflicts, what is ours to answer for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import proposed

from modelcheck import packs
from modelcheck.edit import AddToList, DropFile, DropJson, Edit, Note, SetJson, WriteFile
from modelcheck.errors import PackError
from modelcheck.facts.files import Files
from modelcheck.finding import Finding, Severity
from modelcheck.fixer import CannotFix, Fixer, fixer
from modelcheck.mending.plan import Allowed, make
from modelcheck.packs import Catalogue
from modelcheck.resolver import Resolver
from modelcheck.sources.local import LocalFolder
from modelcheck.testing import write_overlay

BAD = {"config.json": '{"use_cache": false, "vocab_size": 999}', "generation_config.json": "null"}


def use(monkeypatch: pytest.MonkeyPatch, *fixers: Fixer) -> None:
    """Put these in the place of all fixers."""
    found = packs.load()
    monkeypatch.setattr(packs, "load", lambda: Catalogue(found.checks, found.facts, fixers))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_overlay(tmp_path / "model", BAD)


@fixer("use-cache-false", safe=True)
def cache_on() -> Iterator[Edit]:
    """Switch the cache on."""
    yield SetJson("config.json", "/use_cache", value=True)


@fixer("vocab-size-rows", safe=False)
def rows_as_stored() -> Iterator[Edit]:
    """Say how many rows there are."""
    yield Note("as many as are stored")
    yield SetJson("config.json", "/vocab_size", 320)


def test_two_fixes_of_one_file_are_one_change(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, cache_on, rows_as_stored)
    proposal = proposed(folder, unsafe=True)
    assert [c.name for c in proposal.plan.changes] == ["config.json"]
    assert proposal.faults == []
    assert proposal.after.findings == []
    assert [fix.notes for fix in proposal.plan.fixes] == [["as many as are stored"], []]


def test_unsafe_fixes_are_left_out_and_counted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, cache_on, rows_as_stored)
    plan = proposed(folder).plan
    assert [fix.finding.slug for fix in plan.fixes] == ["use-cache-false"]
    assert [(out.finding.slug, out.unsafe, out.reason) for out in plan.left_out] == [
        ("vocab-size-rows", True, "Say how many rows there are")
    ]


def test_a_fixer_that_cannot_says_why_and_the_next_is_asked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @fixer("vocab-size-rows", safe=True)
    def never() -> Iterator[Edit]:
        """Never."""
        yield from ()
        raise CannotFix("the tokenizer does not fit; resize the embedding first")

    use(monkeypatch, never)
    [left] = proposed(folder, unsafe=True).plan.left_out
    assert left.reason == "the tokenizer does not fit; resize the embedding first"
    use(monkeypatch, never, rows_as_stored)
    assert [f.finding.slug for f in proposed(folder, unsafe=True).plan.fixes] == ["vocab-size-rows"]


def test_a_fixer_with_an_option_waits_for_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @fixer("use-cache-false", safe=True, option="cache-too")
    def asked() -> Iterator[Edit]:
        """Switch the cache on."""
        yield SetJson("config.json", "/use_cache", value=True)

    use(monkeypatch, asked)
    assert "only with --cache-too" in proposed(folder).plan.left_out[0].reason
    assert len(proposed(folder, options=["cache-too"]).plan.fixes) == 1


def test_of_two_that_conflict_the_second_is_left_out_visibly(folder: Path) -> None:
    @fixer("use-cache-false", safe=True)
    def whole_file() -> Iterator[Edit]:
        """Write the file anew."""
        yield WriteFile("config.json", b"{}")

    facts = Resolver(packs.load().facts, {"source": LocalFolder(folder), "target": (), "weights": "none"})
    findings = [Finding("rows", slug="vocab-size-rows"), Finding("cache", slug="use-cache-false")]
    plan = make(findings, [rows_as_stored, whole_file], facts, Allowed(unsafe=True))
    assert [fix.finding.slug for fix in plan.fixes] == ["vocab-size-rows"]
    [left] = plan.left_out
    assert "both change config.json" in left.reason
    assert "run `modelcheck fix` again" in left.reason


def test_what_conflicts_is_made_in_a_second_pass_on_the_result(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @fixer("use-cache-false", safe=True)
    def on_the_text(files: Files) -> Iterator[Edit]:
        """Replace it in the text."""
        yield WriteFile("config.json", files.read("config.json").replace(b'"use_cache": false', b'"use_cache": true'))

    use(monkeypatch, rows_as_stored, on_the_text)
    proposal = proposed(folder, unsafe=True)
    assert [fix.finding.slug for fix in proposal.plan.fixes] == ["vocab-size-rows", "use-cache-false"]
    assert (proposal.after.findings, proposal.plan.left_out, proposal.faults) == ([], [], [])
    [change] = proposal.plan.changes
    assert change.pieces is not None
    assert json.loads(b"".join(p for p in change.pieces if isinstance(p, bytes)))["vocab_size"] == 320


def test_a_fix_that_would_undo_another_is_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @fixer("use-cache-false", safe=True)
    def from_before() -> Iterator[Edit]:
        """Write the file as it was, but for the cache."""
        yield WriteFile("config.json", (folder / "config.json").read_bytes().replace(b": false", b": true"))

    use(monkeypatch, rows_as_stored, from_before)
    proposal = proposed(folder, unsafe=True)
    assert [fix.finding.slug for fix in proposal.plan.fixes] == ["vocab-size-rows"]
    assert "it would undo the fix of vocab-size-rows" in proposal.plan.left_out[0].reason
    assert proposal.faults == []


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        (SetJson("f", "/a", 1), SetJson("f", "/a", 1), False),
        (SetJson("f", "/a", 1), SetJson("f", "/a", 2), True),
        (SetJson("f", "/a", 1), SetJson("f", "/ab", 2), False),
        (SetJson("f", "/a", 1), SetJson("f", "/a/b", 2), True),
        (SetJson("f", "/a", 1), SetJson("g", "/a", 2), False),
        (SetJson("f", "/a", 1), DropJson("f", "/a"), True),
        (AddToList("f", "/a", 1), AddToList("f", "/a", 2), False),
        (AddToList("f", "/a", 1), SetJson("f", "/a", [2]), True),
        (DropJson("f", "/a/0"), DropJson("f", "/a/1"), True),
        (WriteFile("f", b""), DropFile("f"), True),
        (Note("x"), WriteFile("f", b""), False),
    ],
    ids=str,
)
def test_which_edits_conflict(one: Edit, other: Edit, clash: bool) -> None:
    from modelcheck.mending.conflicts import conflict

    assert conflict(one, other) is clash
    assert conflict(other, one) is clash


def test_a_fix_that_does_not_silence_its_finding_is_our_fault(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @fixer("use-cache-false", safe=True)
    def useless() -> Iterator[Edit]:
        """Do something else."""
        yield SetJson("config.json", "/other", 1)

    use(monkeypatch, useless)
    assert proposed(folder).faults == ["the fix of use-cache-false does not silence it"]


def test_a_fix_that_brings_an_error_is_our_fault(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @fixer("use-cache-false", safe=True)
    def harmful() -> Iterator[Edit]:
        """Break something else."""
        yield SetJson("config.json", "/use_cache", value=True)
        yield SetJson("tokenizer_config.json", "/pad_token", "<|im_end|>")

    use(monkeypatch, harmful)
    assert proposed(folder).faults == ["the fixes would bring an error of their own: pad-is-eos"]


def test_a_crash_in_a_fixer_is_told_and_the_others_go_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @fixer("vocab-size-rows", safe=True)
    def buggy(finding: Finding) -> Iterator[Edit]:
        """Crash."""
        yield from ()
        raise ZeroDivisionError(str(finding.severity is Severity.ERROR))

    use(monkeypatch, buggy, cache_on)
    proposal = proposed(folder)
    assert [fix.finding.slug for fix in proposal.plan.fixes] == ["use-cache-false"]
    assert "internal error in the fixer of vocab-size-rows: ZeroDivisionError" in proposal.faults[0]


def test_select_says_what_is_mended(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, cache_on, rows_as_stored)
    assert [f.finding.slug for f in proposed(folder, unsafe=True, select=["CFG002"]).plan.fixes] == ["vocab-size-rows"]


def test_a_fixer_of_an_unknown_rule_is_refused_when_it_is_loaded() -> None:
    @fixer("pad-is-oes", safe=True)
    def misspelt() -> Iterator[Edit]:
        """Nothing."""
        yield Note("")

    found = packs.load()
    with pytest.raises(PackError, match=r"unknown rule 'pad-is-oes'; did you mean 'pad-is-eos'\?"):
        packs.validate(found.checks, found.facts, [misspelt])


def test_a_place_that_is_not_there_is_a_reason_not_a_crash(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @fixer("use-cache-false", safe=True)
    def nowhere() -> Iterator[Edit]:
        """Drop what is not there."""
        yield DropJson("config.json", "/nothing/here")

    use(monkeypatch, nowhere)
    proposal = proposed(folder)
    assert proposal.plan.changes == []
    assert "config.json: the place to be changed is not there" in proposal.plan.left_out[0].reason


def test_an_error_that_could_not_be_seen_before_is_none_of_the_fixes(tmp_path: Path) -> None:
    index = {"metadata": {}, "weight_map": {"lm_head.weight": "model-00001-of-00002.safetensors"}}
    overlay = {
        "config.json": '{"num_hidden_layers": 3}',
        "renamed.json": '{"model.safetensors": "model-00001-of-00001.safetensors"}',
        "model.safetensors.index.json": json.dumps(index),
    }
    proposal = proposed(write_overlay(tmp_path / "model", overlay))
    assert {fix.finding.slug for fix in proposal.plan.fixes} == {"shard-missing"}
    assert "missing-tensor" in {finding.slug for finding in proposal.after.findings}
    assert proposal.faults == []


def test_a_fault_of_the_base_is_mended_in_the_folder_of_the_base(tmp_path: Path) -> None:
    base = write_overlay(tmp_path / "base", {"config.json": '{"use_cache": false}'})
    (tmp_path / "adapter").mkdir()
    lora = {"peft_type": "LORA", "r": 4, "target_modules": ["q_proj"], "base_model_name_or_path": str(base)}
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(lora))
    proposal = proposed(tmp_path / "adapter", base=str(base), select=["use-cache-false"])
    [reason] = {left.reason for left in proposal.plan.left_out}
    assert reason == f"it would change {base / 'config.json'}, which lies in another folder: run `modelcheck fix` there"
    assert (proposal.plan.changes, proposal.faults) == ([], [])
