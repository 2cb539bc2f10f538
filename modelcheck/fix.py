"""One run of `modelcheck fix`: what would be changed, and changing it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from modelcheck import ignores, packs, plan
from modelcheck.compiled import changes, composed
from modelcheck.engine import lint_facts
from modelcheck.finding import Severity
from modelcheck.plan import Allowed, LeftOut, Plan
from modelcheck.render.renderer import Renderer
from modelcheck.report import TargetReport
from modelcheck.resolver import Resolver
from modelcheck.run import Run
from modelcheck.seen_by_model import SeenByModel, seen_by_model
from modelcheck.sources import Source
from modelcheck.sources.local import LocalFolder
from modelcheck.sources.planned import Planned

# Two fixes of one template are made one after the other; more than this is a circle.
PASSES = 5


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
    """Lint the folder, plan, and lint what the plan would make of it; again, as long as that shows more to mend.

    Raises UsageError where the folder cannot be read.
    """
    own = LocalFolder(folder)
    source = run.options.set_up(own, folder)
    facts = _facts(run, source, renderer)
    before = after = _linted(run, folder, source, facts)
    whole, now = Plan(), facts
    for _ in range(PASSES):
        made = plan.make(after.findings, packs.load().fixers, now, allowed)
        whole.left_out = made.left_out
        whole.internal += made.internal
        if not made.fixes:
            break
        together = composed(whole.contents, made.contents)
        changed = changes(together, facts["files"], own.status)
        planned = Planned(source, changed)
        then = _facts(run, planned, renderer)
        linted = _linted(run, folder, planned, then)
        if undone := _undone(whole, after, linted):
            reason = f"it would undo the fix of {undone}; choose one of them with --ignore"
            whole.left_out += [LeftOut(fix.finding, reason) for fix in made.fixes]
            break
        whole.fixes += made.fixes
        whole.contents, whole.changes, now, after = together, changed, then, linted
    seen = seen_by_model(facts), seen_by_model(now)
    return Proposal(folder, facts, before, whole, after, seen, [*whole.internal, *_faults(before, whole, after)])


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
    return _faults(proposal.before, proposal.plan, _linted(run, folder, source, _facts(run, source, renderer)))


def _facts(run: Run, source: Source, renderer: Renderer) -> Resolver:
    return Resolver(packs.load().facts, run.options.given() | {"renderer": renderer, "source": source})


def _linted(run: Run, folder: Path, source: Source, facts: Resolver) -> TargetReport:
    report = lint_facts(str(folder), source, run.options.checks(), facts, run.options.pedantic)
    ignores.apply(report, run.per_model_ignore, packs.load().checks)
    return report


def _faults(before: TargetReport, made: Plan, after: TargetReport) -> list[str]:
    """What shows that a fixer of ours is wrong."""
    mended = Counter(fix.finding.slug for fix in made.fixes)
    had, has = (Counter(f.slug for f in report.findings) for report in (before, after))
    faults = [
        f"the fix of {slug} does not silence it" for slug in mended if has[slug] > max(0, had[slug] - mended[slug])
    ]
    errors = (Counter(f.slug for f in r.findings if f.severity is Severity.ERROR) for r in (before, after))
    faults += [f"the fixes would bring an error of their own: {slug}" for slug in _new(*errors)]
    unchecked = (Counter(s.slug for s in r.skipped) for r in (before, after))
    faults += [f"after the fixes, {slug} could not be checked any more" for slug in _new(*unchecked)]
    return faults


def _undone(made: Plan, before: TargetReport, after: TargetReport) -> str | None:
    """A rule whose findings had been mended and are there again."""
    mended = {fix.finding.slug for fix in made.fixes}
    had, has = (Counter(f.slug for f in report.findings) for report in (before, after))
    return next((slug for slug in mended if has[slug] > had[slug]), None)


def _new(before: Counter[str], after: Counter[str]) -> list[str]:
    return [name for name, number in after.items() if number > before[name]]
