"""The plan of a run: which fixes are carried out, which are left out and why, and what the files become."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from modelcheck.change import FileChange
from modelcheck.edit import Edit, FileEdit, JsonEdit, Note, TensorEdit
from modelcheck.errors import raised_at
from modelcheck.fact import Unavailable
from modelcheck.finding import Finding
from modelcheck.fixer import CannotFix, Fixer
from modelcheck.mending.compiled import Contents, contents
from modelcheck.mending.conflicts import first_conflict, same
from modelcheck.resolver import Resolver


@dataclass(frozen=True, slots=True)
class Fix:
    """One fixer's edits for one finding."""

    finding: Finding
    fixer: Fixer
    edits: tuple[Edit, ...]

    @property
    def notes(self) -> list[str]:
        """What is said beside the diff."""
        return [edit.text for edit in self.edits if isinstance(edit, Note)]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A finding that could be mended and is not, and why."""

    finding: Finding
    reason: str
    unsafe: bool = False


@dataclass(slots=True)
class Plan:
    """What `modelcheck fix` would do. `contents` are relative to the files it was made for, `changes` to the folder."""

    fixes: list[Fix] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    changes: list[FileChange] = field(default_factory=list)
    internal: list[str] = field(default_factory=list)
    contents: Contents = field(default_factory=dict)

    @property
    def edits(self) -> list[Edit]:
        """The edits of all fixes, each once."""
        found: list[Edit] = []
        for edit in (edit for fix in self.fixes for edit in fix.edits):
            if not isinstance(edit, Note) and not any(same(known, edit) for known in found):
                found.append(edit)
        return found


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the user opted in to: unsafe fixes, and fixers that have to be asked for by name."""

    unsafe: bool = False
    options: frozenset[str] = frozenset()


def make(findings: Iterable[Finding], fixers: Sequence[Fixer], facts: Resolver, allowed: Allowed) -> Plan:
    """The plan for these findings, in their order. A fix that conflicts with an earlier one is left out."""
    plan = Plan()
    for finding in findings:
        # What the user asked for by name comes first, then what is safe.
        mending = sorted(
            (f for f in fixers if finding.slug in f.slugs), key=lambda f: (f.option not in allowed.options, not f.safe)
        )
        try:
            answer = _answer(_named_as_fixers_do(finding, facts), mending, facts, allowed)
            if isinstance(answer, Fix):
                answer = _refused(plan, answer, facts)
        except Exception as bug:
            plan.internal.append(
                f"internal error in the fixer of {finding.slug}: {type(bug).__name__}: {bug}{raised_at(bug)}"
            )
        else:
            plan.left_out += [answer] if answer else []
    plan.contents = contents(plan.edits, facts)
    return plan


def _named_as_fixers_do(finding: Finding, facts: Resolver) -> Finding:
    """The finding with its file by its name in the set-up: it is shown with its folder, where that is another one."""
    source = facts["source"]
    name = next((name for name in source.sizes() if source.shown(name) == finding.file), finding.file)
    return replace(finding, file=name)


def _answer(finding: Finding, fixers: Sequence[Fixer], facts: Resolver, allowed: Allowed) -> Fix | LeftOut | None:
    """The first fixer's edits; where there are none, the first reason."""
    reasons: list[LeftOut] = []
    for fixer in fixers:
        if fixer.option and fixer.option not in allowed.options:
            reasons.append(LeftOut(finding, f"only with --{fixer.option}: {fixer.title}"))
            continue
        try:
            edits = fixer.edits(finding, facts.arguments(fixer.needs))
        except (CannotFix, Unavailable) as reason:
            reasons.append(LeftOut(finding, str(reason)))
            continue
        if not edits:
            continue
        if fixer.safe or allowed.unsafe:
            return Fix(finding, fixer, tuple(edits))
        reasons.append(LeftOut(finding, fixer.title, unsafe=True))
    # That a flag would mend it says more than why the safe fixer could not.
    return next((r for r in reasons if r.unsafe), reasons[0] if reasons else None)


def _refused(plan: Plan, fix: Fix, facts: Resolver) -> LeftOut | None:
    """Take the fix into the plan, or say why it does not fit."""
    if elsewhere := _elsewhere(fix, facts):
        reason = f"it would change {elsewhere}, which lies in another folder: run `modelcheck fix` there"
        return LeftOut(fix.finding, reason)
    for earlier in plan.fixes:
        if pair := first_conflict(earlier.edits, fix.edits):
            place = ", ".join(dict.fromkeys(filter(None, map(_place, pair))))
            reason = f"it and {earlier.finding.slug} would both change {place}; run `modelcheck fix` again afterwards"
            return LeftOut(fix.finding, reason)
    plan.fixes.append(fix)
    try:
        contents(plan.edits, facts)
    except CannotFix as reason:
        plan.fixes.remove(fix)
        return LeftOut(fix.finding, str(reason))
    return None


def _elsewhere(fix: Fix, facts: Resolver) -> str | None:
    """Where a file really lies that the fix would change and that another part of the set-up brought."""
    tensors = {edit.tensor for edit in fix.edits if isinstance(edit, TensorEdit)}
    files = [edit.file for edit in fix.edits if isinstance(edit, (JsonEdit, FileEdit))]
    files += [facts["tensors"][tensor].file for tensor in sorted(tensors)]
    shown = {name: facts["source"].shown(name) for name in files}
    return next((place for name, place in shown.items() if place != name), None)


def _place(edit: Edit) -> str:
    parts: Iterator[str] = (str(getattr(edit, name)) for name in ("file", "at", "tensor") if hasattr(edit, name))
    return " ".join(parts)
