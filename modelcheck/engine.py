"""Run checks on targets: resolve what each asks for, keep the four states of a fact apart, collect a report."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelcheck import packs
from modelcheck.check import Check
from modelcheck.errors import UsageError, raised_at
from modelcheck.fact import READS, Malformed, Missing, Need, NotApplicable, NotPassed, Unavailable, Unfetched, needs
from modelcheck.facts.chat_template import Template
from modelcheck.facts.files import Files
from modelcheck.finding import Confidence, Finding
from modelcheck.fixer import mended
from modelcheck.malformed import malformed_file
from modelcheck.names import WEIGHTS
from modelcheck.render.renderer import Renderer
from modelcheck.report import Skipped, TargetReport
from modelcheck.resolver import FactCrash, Resolver
from modelcheck.selection import select
from modelcheck.sources import Access, Converted, Remote, Source
from modelcheck.sources.opening import kind, open_source
from modelcheck.sources.setup import Base, set_up, template_text
from modelcheck.sources.transfer import MUCH
from modelcheck.target import Targets

if TYPE_CHECKING:
    import os
    from types import TracebackType


@dataclass(frozen=True, slots=True)
class Options:
    """What a caller may set for a run; the defaults are those of the command line."""

    select: Sequence[str] = ()
    ignore: Sequence[str] = ()
    extend_select: Sequence[str] = ()
    target: Sequence[str] = ()
    weights: str | None = None
    pedantic: bool = False
    base: str | None = None
    chat_template: str | None = None
    lora: str | None = None
    data: str | None = None
    grammar: str | None = None
    revision: str | None = None
    offline: bool = False
    announced: bool = False
    figures: bool = False

    def checks(self) -> list[Check]:
        """The rules that run. A file too broken for one of them is always told, unless told not to."""
        extended = [*self.extend_select, malformed_file.code]
        return select(packs.load().checks, self.select, self.ignore, extended)

    def given(self, source: Source | None = None, base: Base | None = None) -> dict[str, Any]:
        """The facts that come from the options, for a source and a base if they are open already.

        Raises UsageError for options that mean nothing. Of the weights of a hub's repository only the rows in use are
        read, unless the caller says otherwise.
        """
        far = isinstance(source, Remote) and bool(source.pinned())
        weights = self.weights or ("used" if far else "embeddings")
        if weights not in WEIGHTS:
            raise UsageError(f"weights is {weights!r}, expected one of {', '.join(WEIGHTS)}")
        given: dict[str, Any] = {"target": Targets.parse(self.target), "weights": weights}
        if weights != "used":
            given["used_rows"] = None  # or it would be computed, with all it needs, for nobody
        if base := base or self.open_base():
            given["base_source"] = base.source
        if self.chat_template:
            given["chat_template"] = {"default": Template(template_text(self.chat_template), self.chat_template, None)}
        if self.grammar:
            from modelcheck.grammar import load

            given["grammar"] = load(self.grammar, "--grammar")
        if self.data:
            from modelcheck.dataset.splits import open_data

            given["data"] = open_data(self.data)
        return given

    def open_base(self) -> Base | None:
        """The base model that was named. Raises UsageError."""
        if not self.base:
            return None
        source = open_source(self.base, Access(None, self.offline, self.announced))
        if source.kind == "gguf":
            raise UsageError(f"--base {self.base}: a GGUF has other names and settings; name what it was made of")
        return Base(source, self.base)

    def open(self, target: str | os.PathLike[str], base: Base | None = None) -> Source:
        """The source of a target, with its base model and the planned adapter. Raises UsageError."""
        own = open_source(target, Access(self.revision, self.offline, self.announced))
        return self.set_up(own, Path(target) if own.kind == "folder" else None, base)

    def set_up(self, source: Source, folder: Path | None = None, base: Base | None = None) -> Source:
        """A source with its base model and the planned adapter."""
        access = Access(None, self.offline, self.announced)
        return set_up(source, folder, base or self.open_base(), self.lora, access)


class Linter:
    """Lints one target after another with the same options; renderer and base are opened once. A context manager."""

    def __init__(self, options: Options) -> None:
        """Raises UsageError for wrong options."""
        self._options, self._checks = options, options.checks()
        options.given(base=Base())  # options that mean nothing end the run; a base that cannot be read, each target
        self._base: Base | None = None
        # What was read of it for one target is not counted again for the next.
        self._base_read = 0
        self._stack = ExitStack()
        self._renderer = self._stack.enter_context(Renderer())
        if packs.uses(self._checks, "renderer", packs.load().facts):
            self._renderer.start()  # it imports jinja2 while this process reads the first tokenizer

    def __enter__(self) -> Linter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def lint(self, target: str | os.PathLike[str]) -> TargetReport:
        """The report on one target, whatever is wrong with it or with us."""
        started = time.perf_counter()
        try:
            report = self._lint(target)
        except UsageError as unreadable:
            report = TargetReport(str(target), kind(target), error=str(unreadable))
        except Exception as bug:
            text = f"internal error: {type(bug).__name__}: {bug}{raised_at(bug)}"
            report = TargetReport(str(target), kind(target), internal=[text])
        report.seconds = round(time.perf_counter() - started, 4)
        return report

    def _lint(self, target: str | os.PathLike[str]) -> TargetReport:
        options = self._options
        base = self._base = self._base or options.open_base()
        source = options.open(target, base)
        given = options.given(source, base) | {"renderer": self._renderer}
        report = lint_source(str(target), source, self._checks, given, options.pedantic, figures=options.figures)
        if base and isinstance(base.source, Remote):
            whole = base.source.pinned()
            own = [one for one in report.hub if one not in whole]
            report.hub = own + [replace(one, read=one.read - self._base_read) for one in whole]
            self._base_read = sum(one.read for one in whole)
        return report


def lint_targets(targets: Iterable[str | os.PathLike[str]], options: Options) -> Iterable[TargetReport]:
    """Lint folders, GGUFs and hub ids in order, yielding each result as it is there. Raises UsageError for options."""
    with Linter(options) as linter:
        yield from map(linter.lint, targets)


def lint_objects(objects: Mapping[str, object], options: Options) -> TargetReport:
    """Lint the live objects of a trainer."""
    from modelcheck.sources.memory import LiveObjects

    checks = options.checks()
    started = time.perf_counter()
    with ExitStack() as stack:
        renderer, source = stack.enter_context(Renderer()), stack.enter_context(LiveObjects(objects))
        given = options.given() | source.given | {"renderer": renderer}
        report = lint_source("live objects", options.set_up(source), checks, given, options.pedantic)
    report.seconds = round(time.perf_counter() - started, 4)
    return report


def lint_source(
    name: str,
    source: Source,
    checks: Sequence[Check],
    given: Mapping[str, Any],
    pedantic: bool,
    *,
    figures: bool = False,
) -> TargetReport:
    """Run the checks on one source."""
    facts = Resolver(packs.load().facts, {**given, "source": source})
    return lint_facts(name, source, checks, facts, pedantic, figures=figures)


def lint_facts(
    name: str, source: Source, checks: Sequence[Check], facts: Resolver, pedantic: bool, *, figures: bool = False
) -> TargetReport:
    """Run the checks on the facts of one source; with `figures`, keep what a report may draw of these facts."""
    report = TargetReport(name, source.kind)
    broken: dict[str, Malformed] = {}
    try:
        if isinstance(source, Remote):
            _fetch_ahead(checks, facts)
        for check in checks:
            _run(check, facts, report, broken)
        if figures and packs.uses(checks, "untrained", packs.load().facts):
            _draw(facts, report)
    finally:
        if isinstance(source, Remote):
            source.close()
            report.hub = list(source.pinned())
    if malformed_file in checks:
        report.findings += map(_broken_finding, broken.values())
    report.findings = [_as_shown(f, source) for f in report.findings]
    report.hide_below(Confidence.LOW if pedantic else Confidence.MEDIUM)
    report.findings.sort(key=lambda f: (-f.severity, f.code, f.file or "", f.at or "", f.message))
    report.internal = list(dict.fromkeys(report.internal))
    if source.kind != "gguf":  # which is mended where it came from
        report.mended = mended(packs.load().fixers)
    return report


def _fetch_ahead(checks: Sequence[Check], facts: Resolver) -> None:
    """Fetch the small files that the rules will read together, and have it said how much of the weights is to come."""
    open_facts = facts.open()
    wanted = packs.behind((need.name for check in checks for need in check.needs), open_facts)
    # Those of a base have definitions of their own, which ask for its files.
    own = [f for name, f in open_facts.items() if name in wanted and Need("files", optional=False) in needs(f)]
    names = {file for definition in own for file in getattr(definition, READS, ())}
    try:
        files: Files = facts["files"]
        whole = [(name, 0, files.size(name)) for name in sorted(names) if name in files]
        files.expect(span for span in whole if span[2] < MUCH)
        if "value_spans" in wanted and facts["weights"] in ("embeddings", "full"):
            parts = [(tensor.file, *span) for tensor, spans in facts["value_spans"] for span in spans]
            files.expect(whole + parts)
    except (Unavailable, FactCrash):
        pass  # the rules that need them will say so


def _run(check: Check, facts: Resolver, report: TargetReport, broken: dict[str, Malformed]) -> None:
    try:
        report.findings += check.findings(facts.arguments(check.needs))
    except NotApplicable:
        report.not_applicable += 1
    except Missing as missing:
        report.skipped.append(Skipped(check.code, check.slug, str(missing)))
        if isinstance(missing, Unfetched):
            report.error = report.error or str(missing)
    except Malformed as malformed:
        broken.setdefault(malformed.file, malformed)
        report.skipped.append(Skipped(check.code, check.slug, str(malformed)))
    except FactCrash as crash:
        report.internal.append(f"internal error in {crash}")
    except Exception as bug:
        report.internal.append(
            f"internal error in {check.code} {check.slug}: {type(bug).__name__}: {bug}{raised_at(bug)}"
        )


def _draw(facts: Resolver, report: TargetReport) -> None:
    try:
        report.norms = facts["norm_histogram"]
    except Unavailable:
        pass  # the rules that need the rows have said why there are none
    except FactCrash as crash:
        report.internal.append(f"internal error in {crash}")


def _as_shown(finding: Finding, source: Source) -> Finding:
    if finding.file is None:
        return finding
    at = source.key(finding.file, finding.at) if isinstance(source, Converted) else finding.at
    return replace(finding, file=source.shown(finding.file), at=at)


def _broken_finding(malformed: Malformed) -> Finding:
    rule = malformed_file
    return Finding(malformed.problem, malformed.file, malformed.at, rule.severity, code=rule.code, slug=rule.slug)


def check_facts(check: Check, given: Mapping[str, Any]) -> list[Finding]:
    """Run one check on facts handed in by name. Raises TypeError where one can neither be found nor derived."""
    with Renderer() as renderer:
        facts = Resolver(packs.load().facts, {**Options().given(), "renderer": renderer, **given})
        try:
            return _answer(check, facts)
        except NotPassed as missing:
            needed = [f"{need.name}=" for need in check.needs if not need.optional and need.name not in given]
            raise TypeError(f"{check.slug} cannot be answered: pass {', '.join(needed)}") from missing


def check_target(check: Check, target: str | os.PathLike[str] | None, objects: Mapping[str, object]) -> list[Finding]:
    """Run one check on a folder, a hub id or live objects, for `Check.__call__`."""
    from modelcheck.sources.memory import LiveObjects

    if (target is None) == (not objects):
        raise TypeError(f"{check.slug}: pass either the path of a checkpoint or live objects (tokenizer=, model=, ...)")
    with ExitStack() as stack:
        more: dict[str, Any] = {"renderer": stack.enter_context(Renderer())}
        if target is not None:
            source = Options().open(target)
        else:
            live = stack.enter_context(LiveObjects(objects))
            source = Options().set_up(live)
            more |= live.given
        given = Options().given(source) | more | {"source": source}
        try:
            return _answer(check, Resolver(packs.load().facts, given))
        except NotPassed as missing:
            if target is not None:
                raise UsageError(f"{check.slug} could not be checked: {missing}") from missing
            raise TypeError(f"{check.slug} cannot be answered: pass {missing.argument}=") from None


def _answer(check: Check, facts: Resolver) -> list[Finding]:
    try:
        return check.findings(facts.arguments(check.needs))
    except NotApplicable:
        return []
    except NotPassed:
        raise
    except Missing as missing:
        raise UsageError(f"{check.slug} could not be checked: {missing}") from missing
    except Malformed as malformed:
        raise UsageError(f"{check.slug} could not be checked: {malformed}") from malformed
