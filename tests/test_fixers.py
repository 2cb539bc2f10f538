"""Every fixer on its rule's own Bad example: what `explain` shows is what is mended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support import contents, mended, proposed, state

from modelcheck import packs
from modelcheck.check import Check
from modelcheck.manual import examples, sections
from modelcheck.testing import options_of, write_overlay
from modelcheck.transaction import undo

CATALOGUE = packs.load()
OPTIONS = frozenset(f.option for f in CATALOGUE.fixers if f.option)
MENDED = {slug for fixer in CATALOGUE.fixers for slug in fixer.slugs}
FIXABLE = [check for check in CATALOGUE.checks if check.slug in MENDED]


@pytest.mark.parametrize("check", FIXABLE, ids=lambda c: c.slug)
def test_the_bad_example_is_mended_and_nothing_else_breaks(check: Check, tmp_path: Path) -> None:
    overlay = examples(check.manual, "Bad")
    folder = write_overlay(tmp_path / "bad", overlay)
    before = contents(folder)
    proposal = proposed(folder, unsafe=True, options=OPTIONS, **options_of(folder, overlay))
    assert check.slug in {fix.finding.slug for fix in proposal.plan.fixes}
    assert proposal.faults == []
    assert check.slug not in {finding.slug for finding in proposal.after.findings}
    assert contents(folder) == before


@pytest.mark.parametrize("check", FIXABLE, ids=lambda c: c.slug)
def test_written_it_is_gone_a_second_run_changes_nothing_and_undo_restores(check: Check, tmp_path: Path) -> None:
    overlay = examples(check.manual, "Bad")
    folder = write_overlay(tmp_path / "bad", overlay)
    for number, path in enumerate(sorted(p for p in folder.rglob("*") if p.is_file())):
        path.chmod((0o600, 0o640, 0o664)[number % 3])
    before = state(folder)
    how: dict[str, Any] = {"unsafe": True, "options": OPTIONS, **options_of(folder, overlay)}
    proposal = mended(folder, **how)
    after = state(folder)
    changed = {change.name for change in proposal.plan.changes}
    assert {name: of for name, of in after.items() if name not in changed} == {
        name: of for name, of in before.items() if name not in changed
    }
    assert {name: after[name].mode for name in changed & before.keys() & after.keys()} == {
        name: before[name].mode for name in changed & before.keys() & after.keys()
    }
    again = proposed(folder, **how)
    assert check.slug not in {finding.slug for finding in again.before.findings}
    assert again.plan.changes == []
    undo(folder)
    assert state(folder) == before


@pytest.mark.parametrize("check", FIXABLE, ids=lambda c: c.slug)
def test_the_good_example_has_nothing_to_mend(check: Check, tmp_path: Path) -> None:
    overlay = examples(check.manual, "Good")
    folder = write_overlay(tmp_path / "good", overlay)
    proposal = proposed(folder, unsafe=True, options=OPTIONS, **options_of(folder, overlay))
    assert check.slug not in {fix.finding.slug for fix in proposal.plan.fixes}


@pytest.mark.parametrize("check", FIXABLE, ids=lambda c: c.slug)
def test_the_manual_says_how_safe_the_fix_is(check: Check) -> None:
    assert "Fix safety" in sections(check.manual)


@pytest.mark.parametrize("fixer", CATALOGUE.fixers, ids=lambda f: f.function.__name__)
def test_a_fixer_says_what_it_does(fixer: object) -> None:
    assert getattr(fixer, "title", "")
