"""Facts by name, packs refused with their place, and the four states of a fact kept apart."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from modelcheck import (
    Check,
    Confidence,
    Finding,
    Malformed,
    Missing,
    NotApplicable,
    PackError,
    Severity,
    UsageError,
    check,
    fact,
    packs,
)
from modelcheck.engine import lint_source
from modelcheck.malformed import malformed_file
from modelcheck.packs import Catalogue, validate
from modelcheck.report import TargetReport
from modelcheck.resolver import FactCrash, Resolver
from modelcheck.selection import select

Run = Callable[..., TargetReport]


@check("TST001", severity=Severity.WARNING)
def needs_colour(colour: str) -> Iterator[Finding]:
    """Needs the fact whose state the tests vary."""
    yield Finding(f"colour is {colour}")


@check("TST002", severity=Severity.WARNING)
def needs_nothing() -> Iterator[Finding]:
    """Runs whatever happens to the others."""
    yield Finding("always", severity=Severity.INFO)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Lint an empty source with these checks and facts instead of the installed ones."""

    def lint(checks: Sequence[Check], *facts: Callable[..., Any], pedantic: bool = False) -> TargetReport:
        catalogue = Catalogue(tuple(checks), {f.__name__: f for f in facts})
        monkeypatch.setattr(packs, "load", lambda: catalogue)
        source: Any = SimpleNamespace(kind="folder", shown=str)
        return lint_source("somewhere", source, checks, {}, pedantic)

    return lint


def summary(report: TargetReport) -> dict[str, Any]:
    """What a report says of each state, as short as a test wants to read it."""
    return {
        "findings": [(f.code, f.message) for f in report.findings],
        "skipped": [(s.code, s.reason) for s in report.skipped],
        "not_applicable": report.not_applicable,
        "internal": [line.partition(" (")[0] for line in report.internal],
    }


ALWAYS = ("TST002", "always")


def test_a_fact_that_does_not_apply_is_counted_and_nothing_more(run: Run) -> None:
    @fact
    def colour() -> str:
        raise NotApplicable("there is no light")

    assert summary(run([needs_colour, needs_nothing], colour)) == {
        "findings": [ALWAYS],
        "skipped": [],
        "not_applicable": 1,
        "internal": [],
    }


def test_a_missing_fact_is_listed_as_skipped_with_its_remedy(run: Run) -> None:
    @fact
    def colour() -> str:
        raise Missing("the lamp was not fetched", remedy="--lamp")

    assert summary(run([needs_colour, needs_nothing], colour)) == {
        "findings": [ALWAYS],
        "skipped": [("TST001", "the lamp was not fetched (--lamp)")],
        "not_applicable": 0,
        "internal": [],
    }


def test_a_malformed_file_is_one_finding_and_its_dependants_are_skipped(run: Run) -> None:
    @fact
    def colour() -> str:
        raise Malformed("lamp.json", "is not JSON", at="1:2")

    @check("TST003", severity=Severity.ERROR)
    def needs_colour_too(colour: str) -> Iterator[Finding]:
        yield Finding(colour)

    report = run([malformed_file, needs_colour, needs_colour_too, needs_nothing], colour)
    assert summary(report) == {
        "findings": [("FIL001", "is not JSON"), ALWAYS],
        "skipped": [("TST001", "lamp.json: is not JSON"), ("TST003", "lamp.json: is not JSON")],
        "not_applicable": 0,
        "internal": [],
    }
    assert (report.findings[0].file, report.findings[0].at) == ("lamp.json", "1:2")


def test_a_crash_in_a_fact_is_told_once_and_the_other_checks_go_on(run: Run) -> None:
    @fact
    def colour() -> str:
        raise ZeroDivisionError("oops")

    @check("TST003", severity=Severity.ERROR)
    def needs_colour_too(colour: str) -> Iterator[Finding]:
        yield Finding(colour)

    assert summary(run([needs_colour, needs_colour_too, needs_nothing], colour)) == {
        "findings": [ALWAYS],
        "skipped": [],
        "not_applicable": 0,
        "internal": ["internal error in fact colour: ZeroDivisionError: oops"],
    }


def test_a_crash_in_a_check_is_told_and_the_other_checks_go_on(run: Run) -> None:
    @check("TST003", severity=Severity.ERROR)
    def crashes() -> Iterator[Finding]:
        yield Finding("found before the crash")
        raise KeyError("gone")

    report = run([crashes, needs_nothing])
    assert summary(report) == {
        "findings": [ALWAYS],
        "skipped": [],
        "not_applicable": 0,
        "internal": ["internal error in TST003 crashes: KeyError: 'gone'"],
    }
    assert f"({__file__}:" in report.internal[0]


def test_an_optional_parameter_is_none_only_where_the_fact_does_not_apply(run: Run) -> None:
    @check("TST003", severity=Severity.INFO)
    def tolerant(colour: str | None = None) -> Iterator[Finding]:
        yield Finding(f"colour is {colour}")

    def failing(failure: Exception) -> Callable[..., Any]:
        @fact
        def colour() -> str:
            raise failure

        return colour

    assert run([tolerant], failing(NotApplicable("no light"))).findings[0].message == "colour is None"
    assert run([tolerant], failing(Missing("not fetched"))).skipped[0].reason == "not fetched"
    assert run([tolerant], failing(Malformed("lamp.json", "bent"))).skipped[0].reason == "lamp.json: bent"


def test_a_finding_may_lower_the_severity_of_its_rule_and_never_raise_it(run: Run) -> None:
    @check("TST003", severity=Severity.WARNING)
    def eager() -> Iterator[Finding]:
        for severity in Severity:
            yield Finding(str(severity), severity=severity)

    given = {f.message: f.severity for f in run([eager]).findings}
    assert given == {"info": Severity.INFO, "warning": Severity.WARNING, "error": Severity.WARNING}


def test_low_confidence_is_hidden_and_counted_unless_pedantic(run: Run) -> None:
    @check("TST003", severity=Severity.WARNING)
    def unsure() -> Iterator[Finding]:
        for confidence in Confidence:
            yield Finding(str(confidence), confidence=confidence)

    shown = run([unsure])
    assert ({f.message for f in shown.findings}, shown.hidden) == ({"medium", "high"}, 1)
    all_of_it = run([unsure], pedantic=True)
    assert ({f.message for f in all_of_it.findings}, all_of_it.hidden) == ({"low", "medium", "high"}, 0)


def test_an_unknown_fact_is_refused_with_its_place_and_the_nearest_name() -> None:
    @check("TST003", severity=Severity.ERROR)
    def mistyped(tokenizer_confg: object) -> Iterator[Finding]:
        yield Finding(str(tokenizer_confg))

    line = mistyped.function.__code__.co_firstlineno
    with pytest.raises(PackError) as refused:
        validate([mistyped], packs.load().facts)
    expected = f"{__file__}:{line}: unknown fact 'tokenizer_confg'; did you mean 'tokenizer_config'?"
    assert str(refused.value) == expected


def test_a_cycle_is_refused_with_its_chain() -> None:
    def hen(egg: object) -> object:
        return egg

    def egg(nest: object) -> object:
        return nest

    def nest(hen: object) -> object:
        return hen

    with pytest.raises(PackError, match=r"test_engine\.py:\d+: .* circle: hen -> egg -> nest -> hen$"):
        validate([], {"hen": hen, "egg": egg, "nest": nest})


def test_a_code_or_slug_used_twice_is_refused() -> None:
    @check("TST001", severity=Severity.ERROR)
    def impostor() -> Iterator[Finding]:
        yield Finding("")

    with pytest.raises(PackError, match=r"test_engine\.py:\d+: TST001 is already TST001 needs-colour of .*:\d+$"):
        validate([needs_colour, impostor], {"colour": lambda: "red"})
    again = check("TST009", severity=Severity.ERROR)(needs_colour.function)
    with pytest.raises(PackError, match=r"test_engine\.py:\d+: needs-colour is already TST001 needs-colour of .*:\d+$"):
        validate([needs_colour, again], {"colour": lambda: "red"})


def test_a_fact_defined_twice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def definition() -> Callable[..., Any]:
        @fact
        def colour() -> str:
            return "red"

        return colour

    ours, theirs = SimpleNamespace(colour=definition()), SimpleNamespace(colour=definition())
    monkeypatch.setattr(packs, "_modules", lambda group: [ours, ours, theirs] if group == "modelcheck.facts" else [])
    with pytest.raises(PackError, match=r"test_engine\.py:\d+: the fact 'colour' is already defined at .*:\d+$"):
        packs.load.__wrapped__()


@pytest.mark.parametrize("code", ["TOK1", "tok001", "TOKN001", "TOK0011"])
def test_a_code_is_three_letters_and_three_digits(code: str) -> None:
    with pytest.raises(ValueError, match="three capital letters and three digits"):
        check(code, severity=Severity.ERROR)


def test_a_fact_is_computed_once_even_where_it_fails() -> None:
    calls: list[str] = []

    def good() -> int:
        calls.append("good")
        return 1

    def bad(good: int) -> int:
        calls.append("bad")
        raise ZeroDivisionError(good)

    facts = Resolver({"good": good, "bad": bad}, {})
    for _ in range(3):
        assert facts["good"] == 1
        with pytest.raises(FactCrash, match="fact bad: ZeroDivisionError: 1"):
            facts["bad"]
    assert calls == ["good", "bad"]


def test_values_handed_in_win_over_definitions() -> None:
    facts = Resolver({"base": lambda: 1, "twice": lambda base: 2 * base}, {"base": 21})
    assert facts["twice"] == 42


def test_the_resolver_is_shared_between_threads() -> None:
    calls: list[int] = []

    def slow() -> object:
        calls.append(1)
        time.sleep(0.02)
        return object()

    facts = Resolver({"slow": slow, "after": lambda slow: slow}, {})
    seen: list[object] = []
    names = ["slow", "after"] * 8
    threads = [threading.Thread(target=lambda name=name: seen.append(facts[name])) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(calls), len(seen), len(set(map(id, seen)))) == (1, 16, 1)


@pytest.mark.parametrize("selector", ["TST001", "needs-colour", "TST", "ALL"])
def test_a_rule_is_selected_by_code_slug_or_family(selector: str) -> None:
    assert needs_colour in select([needs_colour, needs_nothing], [selector])


def test_ignoring_wins_over_selecting_and_extending_adds() -> None:
    both = [needs_colour, needs_nothing]
    assert select(both, ["TST001"], (), ["TST002"]) == both
    assert select(both, ["TST"], ["needs-colour"]) == [needs_nothing]


def test_a_selector_that_names_nothing_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"'needs-color'; did you mean 'needs-colour'\?"):
        select([needs_colour], ["needs-color"])
