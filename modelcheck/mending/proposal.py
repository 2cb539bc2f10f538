"""One run of `modelcheck fix`: what would be changed, and changing it."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from modelcheck import ignores, packs, transaction
from modelcheck.engine import lint_facts
from modelcheck.errors import UsageError
from modelcheck.finding import Severity
from modelcheck.mending.compiled import Looked, changes, composed
from modelcheck.mending.plan import Allowed, LeftOut, Plan, make
from modelcheck.mending.seen_by_model import SeenByModel, seen_by_model
from modelcheck.render.renderer import Renderer
from modelcheck.report import TargetReport
from modelcheck.resolver import Resolver
from modelcheck.run import Run
from modelcheck.sources import Access, Remote, Source
from modelcheck.sources.local import LocalFolder
from modelcheck.sources.opening import open_source
from modelcheck.sources.planned import Planned
from modelcheck.sources.setup import Base, SetUp

# Two fixes of one template are made one after the other; more than this is a circle.
PASSES = 5


@dataclass(frozen=True, slots=True)
class Proposal:
    """What is wrong with a target, what would be changed, and what would be left.

    `faults` are ours: a fix that does not silence its finding, or brings an error with it. Nothing is written then.
    """

    target: str
    source: Source
    facts: Resolver
    before: TargetReport
    plan: Plan
    after: TargetReport
    model_sees: tuple[SeenByModel, SeenByModel]
    faults: list[str] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """Where the target lies, if it is no repository on the hub."""
        return Path(self.target)


def propose(target: str, run: Run, allowed: Allowed, renderer: Renderer) -> Proposal:
    """Lint the target, plan, and lint what the plan would make of it; again, as long as that shows more to mend.

    A repository on the hub is read as by lint. Raises UsageError where the target cannot be read, or not mended.
    """
    source, status = _opened(target, run)
    facts = _facts(run, source, renderer)
    before = after = _linted(run, target, source, facts)
    whole, now = Plan(), facts
    for _ in range(PASSES):
        made = make(after.findings, packs.load().fixers, now, allowed)
        whole.left_out = made.left_out
        whole.internal += made.internal
        if not made.fixes:
            break
        together = composed(whole.contents, made.contents)
        changed = changes(together, facts["files"], status)
        planned = Planned(source, changed)
        then = _facts(run, planned, renderer)
        linted = _linted(run, target, planned, then)
        if undone := _undone(whole, after, linted):
            reason = f"it would undo the fix of {undone}; choose one of them with --ignore"
            whole.left_out += [LeftOut(fix.finding, reason) for fix in made.fixes]
            break
        whole.fixes += made.fixes
        whole.contents, whole.changes, now, after = together, changed, then, linted
    seen = seen_by_model(facts), seen_by_model(now)
    return Proposal(
        target, source, facts, before, whole, after, seen, [*whole.internal, *_faults(before, whole, after)]
    )


def write(proposal: Proposal, run: Run, renderer: Renderer) -> list[str]:
    """Carry the plan out in place and lint again; a fault of ours that this shows is returned, and all is taken back.

    Raises UsageError where the folder does not let itself be written, or has changed since it was linted.
    """
    folder = proposal.folder
    if not folder.is_dir():
        raise UsageError(f"{proposal.target}: is on the hub; --output DIR writes a mended copy")
    transaction.apply(folder, proposal.plan.changes)
    is_right = False
    try:
        faults = _written_faults(folder, proposal, run, renderer)
        is_right = not faults
    finally:  # whoever interrupts the second lint has not seen that it is right
        if not is_right:
            transaction.undo(folder)
    return faults


def write_copy(proposal: Proposal, output: Path, run: Run, renderer: Renderer) -> list[str]:
    """Write a mended copy, lint it, and remove it again if that shows a fault of ours, which is returned.

    Raises UsageError where it cannot be written.
    """
    folder = proposal.folder
    if folder.is_dir():
        transaction.write_copy(folder, output, proposal.plan.changes)
    else:
        try:
            transaction.write_copy_of(_own(proposal.source), output, proposal.plan.changes)
        finally:  # what has been fetched since the lint is in our cache as well
            if isinstance(proposal.source, Remote):
                proposal.source.close()
    is_right = False
    try:
        faults = _written_faults(output, proposal, run, renderer)
        is_right = not faults
    finally:
        if not is_right:
            shutil.rmtree(output)
    return faults


def after_interruption(target: str) -> str:
    """What an interrupted run has left of a target, in words."""
    folder = Path(target)
    if folder.is_dir() and transaction.unfinished(folder):
        return f"the fix is half done; run `modelcheck undo {target}`, which takes it back"
    return f"{target} is as it was, and no copy was made"


def _opened(target: str, run: Run, base: Base | None = None) -> tuple[Source, Looked]:
    """The source of a target, and how its files were when it was opened."""
    options = run.options
    own = open_source(target, Access(options.revision, options.offline, options.announced))
    if own.kind == "gguf":
        raise UsageError(f"{target}: a GGUF is a conversion: mend what it was made of, and convert that again")
    if isinstance(own, LocalFolder):
        return options.set_up(own, Path(target), base), own.status
    return options.set_up(own), lambda name: (0, own.sizes()[name], 0)


def _written_faults(folder: Path, proposal: Proposal, run: Run, renderer: Renderer) -> list[str]:
    # A copy of an adapter on the hub has the base of the original, which a folder would not be looked for on the hub.
    known = proposal.source.on if isinstance(proposal.source, SetUp) and proposal.source.on.source else None
    source, _ = _opened(str(folder), run, known)
    return _faults(proposal.before, proposal.plan, _linted(run, str(folder), source, _facts(run, source, renderer)))


def _own(source: Source) -> Source:
    """The target without the base that it is seen with."""
    return source.own if isinstance(source, SetUp) else source


def _facts(run: Run, source: Source, renderer: Renderer) -> Resolver:
    return Resolver(packs.load().facts, run.options.given(source) | {"renderer": renderer, "source": source})


def _linted(run: Run, target: str, source: Source, facts: Resolver) -> TargetReport:
    report = lint_facts(target, source, run.options.checks(), facts, run.options.pedantic)
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
    # What could not be checked before may have been there all along; a fix has only brought it to light.
    unknown = {skipped.slug for skipped in before.skipped}
    faults += [f"the fixes would bring an error of their own: {s}" for s in _new(*errors) if s not in unknown]
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
