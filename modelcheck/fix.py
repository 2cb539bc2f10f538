"""One run of `modelcheck fix`: what would be changed, and changing it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelcheck import ignores, packs, plan
from modelcheck.engine import lint_facts
from modelcheck.finding import Severity
from modelcheck.plan import Allowed, Plan
from modelcheck.render.renderer import Renderer
from modelcheck.report import TargetReport
from modelcheck.resolver import Resolver
from modelcheck.run import Run
from modelcheck.seen_by_model import SeenByModel, seen_by_model
from modelcheck.sources import Source
from modelcheck.sources.local import LocalFolder
from modelcheck.sources.planned import Planned


@dataclass(frozen=True, slots=True)
class Proposal:
    """What is wrong with a folder, what would be changed, and what would be left.

    `faults` are ours: a fix that does not silence its finding, or brings an error with it. Nothing is written then.
    """

    folder: Path
    facts: Resolver
    before: TargetReport
    plan: Plan
    after: TargetReport
    model_sees: tuple[SeenByModel, SeenByModel]
    faults: list[str] = field(default_factory=list)


def propose(folder: Path, run: Run, allowed: Allowed, renderer: Renderer) -> Proposal:
    """Lint the folder, plan, and lint what the plan would make of it. Raises UsageError where it cannot be read."""
    own = LocalFolder(folder)
    given = run.options.given() | {"renderer": renderer}
    source = run.options.set_up(own, folder)
    facts = Resolver(packs.load().facts, {**given, "source": source})
    before = _linted(run, folder, source, facts)
    made = plan.make(before.findings, packs.load().fixers, facts, own.status, allowed)
    planned = Planned(source, made.changes)
    new_facts = Resolver(packs.load().facts, {**given, "source": planned})
    after = _linted(run, folder, planned, new_facts)
    seen = seen_by_model(facts), seen_by_model(new_facts)
    return Proposal(folder, facts, before, made, after, seen, [*made.internal, *_faults(before, made, after)])


def write(proposal: Proposal, run: Run, renderer: Renderer) -> list[str]:
    """Carry the plan out in place and lint again; a fault of ours that this shows is returned, and all is taken back.

    Raises UsageError where the folder does not let itself be written, or has changed since it was linted.
    """
    from modelcheck import transaction

    transaction.apply(proposal.folder, proposal.plan.changes)
    faults = _written_faults(proposal.folder, proposal, run, renderer)
    if faults:
        transaction.undo(proposal.folder)
    return faults


def write_copy(proposal: Proposal, output: Path, run: Run, renderer: Renderer) -> list[str]:
    """Write a mended copy, lint it, and remove it again if that shows a fault of ours, which is returned.

    Raises UsageError where it cannot be written.
    """
    import shutil

    from modelcheck import transaction

    transaction.write_copy(proposal.folder, output, proposal.plan.changes)
    faults = _written_faults(output, proposal, run, renderer)
    if faults:
        shutil.rmtree(output)
    return faults


def _written_faults(folder: Path, proposal: Proposal, run: Run, renderer: Renderer) -> list[str]:
    source = run.options.set_up(LocalFolder(folder), folder)
    given: Mapping[str, Any] = run.options.given() | {"renderer": renderer, "source": source}
    after = _linted(run, folder, source, Resolver(packs.load().facts, given))
    return _faults(proposal.before, proposal.plan, after)


def _linted(run: Run, folder: Path, source: Source, facts: Resolver) -> TargetReport:
    report = lint_facts(str(folder), source, run.options.checks(), facts, run.options.pedantic)
    ignores.apply(report, run.per_model_ignore, packs.load().checks)
    return report


def _faults(before: TargetReport, made: Plan, after: TargetReport) -> list[str]:
    """What shows that a fixer of ours is wrong."""
    mended = Counter(fix.finding.slug for fix in made.fixes)
    had, has = (Counter(f.slug for f in report.findings) for report in (before, after))
    faults = [f"the fix of {slug} does not silence it" for slug in mended if has[slug] > had[slug] - mended[slug]]
    errors = (Counter(f.slug for f in r.findings if f.severity is Severity.ERROR) for r in (before, after))
    faults += [f"the fixes would bring an error of their own: {slug}" for slug in _new(*errors)]
    unchecked = (Counter(s.slug for s in r.skipped) for r in (before, after))
    faults += [f"after the fixes, {slug} could not be checked any more" for slug in _new(*unchecked)]
    return faults


def _new(before: Counter[str], after: Counter[str]) -> list[str]:
    return [name for name, number in after.items() if number > before[name]]
