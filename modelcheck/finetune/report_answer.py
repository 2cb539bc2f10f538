"""The answer of a job in one sentence, and what to do about it: what a report says before it shows anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from modelcheck.finding import Severity
from modelcheck.finetune.hints import Hint, explaining, unexplained
from modelcheck.finetune.job_record import JobRecord
from modelcheck.finetune.messages import asked, message
from modelcheck.finetune.outcome import BLOCKED, EXPECTED, FAILED, PASSED, SMOKE, WARNED, Outcome
from modelcheck.finetune.report import UNEXPLAINED, paragraphs
from modelcheck.finetune.verdict import Result, Verdict, consequence
from modelcheck.output import page

# What a verdict is coloured by, in the words of the house style.
STATES = {
    PASSED: "clean", WARNED: "warning", FAILED: "error", EXPECTED: "unsure", SMOKE: "unsure", BLOCKED: "unsure",
    Verdict.PASS: "clean", Verdict.FAIL: "error", Verdict.INCONCLUSIVE: "warning", Verdict.SMOKE: "unsure",
}  # fmt: skip
WORDS = {
    PASSED: "Passed", WARNED: "Passed, with warnings", FAILED: "Failed", EXPECTED: "Not decided, as expected",
    SMOKE: "Nothing is decided", BLOCKED: "Not run",
}  # fmt: skip
# Results that the answer names.
NAMED = 2
RERUN = "After mending, the same command goes on where it was; what still holds is not done again"


@dataclass(frozen=True, slots=True)
class Answer:
    """`verdict` is the worst of what the steps came to, `sentence` says what decided; `whole`: no step is missing."""

    verdict: str
    sentence: str
    whole: bool

    @property
    def state(self) -> str:
        """What it is coloured by. What was not looked at is not fine."""
        return STATES[self.verdict] if self.whole or self.verdict != PASSED else "unsure"

    @property
    def word(self) -> str:
        """The verdict as people say it."""
        return WORDS[self.verdict] if self.whole or self.verdict != PASSED else "Passed in part"


@dataclass(frozen=True, slots=True)
class Advice:
    """Something to act on: what it is, in what state, what was seen, what to do next, what to type."""

    state: str
    title: str
    text: str
    then: str = ""
    command: str = ""


def answer(record: JobRecord) -> Answer:
    """Whether the tuned model is good enough, and by what that was decided."""
    verdicts = [outcome.verdict for outcome in record.outcomes]
    worst = next((word for word in (FAILED, EXPECTED, WARNED, SMOKE) if word in verdicts), PASSED)
    missing = len(record.steps) - len(record.outcomes)
    rest = f" {missing} of {len(record.steps)} steps were not asked for." if missing else ""
    return Answer(worst, " ".join(_reasons(record, worst)) + rest, not missing)


def _reasons(record: JobRecord, worst: str) -> Iterator[str]:
    results, policy = record.made.results, record.made.policy
    broken = [outcome for outcome in record.outcomes if outcome.verdict == FAILED and not outcome.results]
    if broken:
        yield from (_broken(outcome, record) for outcome in broken)
    decided = [result for result in results if consequence(result, policy) == worst]
    decided = [result for result in decided if result.verdict is Verdict.FAIL] or decided
    if worst == PASSED and results:
        yield f"{_all_met(results)}: {_seen(_leading(results))}."
    elif worst == SMOKE:
        yield "Only some of the items were asked (eval.limit), to see that everything runs."
    elif decided:
        how = "not met" if decided[0].verdict is Verdict.FAIL else "not decided by these items"
        how += ", which counts as a failure here" if worst == FAILED and decided[0].verdict is not Verdict.FAIL else ""
        are = "is" if len(decided) == 1 else "are"
        yield f"{len(decided)} of {page.count(len(results), 'demand')} {are} {how}: {_together(decided)}."
    elif worst == WARNED:
        warned = [outcome.item for outcome in record.outcomes if outcome.verdict == WARNED]
        met = f"{_all_met(results)}, but there is" if results else "There is"
        yield f"{met} a warning to read from {', '.join(warned)}."
    elif not results and not broken:
        yield "Every step that was asked for passed; none of them compares the models."


def _broken(outcome: Outcome, record: JobRecord) -> str:
    blocked = sum(other.verdict == BLOCKED for other in record.outcomes)
    first = next(iter(outcome.message.splitlines()), "it does not say why")
    # A finding's own words, without its code and place.
    said = next((f.message for f in outcome.findings if first.startswith(f"{f.severity} {f.code} ")), first)
    how = f"stopped the job, {page.count(blocked, 'step')} did not run" if blocked else "failed"
    return f"The step {outcome.item} {how}: {said.rstrip('.')}."


def _all_met(results: Sequence[Result]) -> str:
    return "The one demand is met" if len(results) == 1 else f"All {len(results)} demands are met"


def _together(results: Sequence[Result]) -> str:
    """The first results in words, and how many more there are."""
    told = "; ".join(map(_seen, results[:NAMED]))
    return f"{told}; and {len(results) - NAMED} more" if len(results) > NAMED else told


def _leading(results: tuple[Result, ...]) -> Result:
    """The result that a reader asks for first: the new skill."""
    return min(results, key=lambda result: (not result.primary, result.role != "target"))


def _name(result: Result) -> str:
    return f"{result.role} {result.suite}" if result.role != result.suite else f"{result.suite} {result.metric}"


def _seen(result: Result) -> str:
    if result.pairs is not None and result.base is not None:
        verb = "fell" if result.value < 0 else "rose" if result.value > 0 else "went"
        return f"{_name(result)} {verb} from {result.base:.2f} to {result.tuned:.2f} ({asked(result)})"
    return f"{_name(result)} is {result.value:.2f} ({asked(result)})"


def advice(record: JobRecord) -> Iterator[Advice]:
    """Everything to act on, what comes first in the job first: broken steps, likely causes, demands not met."""
    made = record.made
    found = explaining(made.results, made.hints)
    causes = {hint.message for hint in found}
    for outcome in record.outcomes:
        known = all(f.message in causes for f in outcome.findings if f.severity >= Severity.WARNING)
        if not outcome.results and (
            outcome.verdict == FAILED or (outcome.verdict == WARNED and not (causes and known))
        ):
            yield _of_step(outcome)
    slugs = {finding.message: finding.slug for outcome in record.outcomes for finding in outcome.findings}
    for hint in found:
        command = f"modelcheck explain {slugs[hint.message]}" if hint.message in slugs else ""
        yield Advice("error", "Likely cause", f"{hint.message} ({hint.source})", command=command)
    yield from _of_results(made.results, found)
    if any(result.verdict is Verdict.SMOKE for result in made.results):
        yield Advice("unsure", "Some items only", "A run with eval.limit shows that everything runs", "leave limit out")
    if not found and any(map(unexplained, made.results)):
        yield Advice("unsure", "Likely cause", UNEXPLAINED)


def _of_results(results: Sequence[Result], found: Sequence[Hint]) -> Iterator[Advice]:
    """What failed for a likely cause in one piece, then the rest, each with its own way out."""
    explained = [result for result in results if explaining([result], found)]
    if explained:
        text = "\n".join(message(result, found).partition("; next: ")[0] for result in explained)
        title = f"{page.count(len(explained), 'demand')} not met, likely for that cause"
        yield Advice("error", title, text, "mend the likely cause first")
    rest = [result for result in results if result not in explained]
    for result in sorted(rest, key=lambda result: result.verdict is not Verdict.FAIL):
        if result.verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE):
            text, _, then = message(result, found).partition("; next: ")
            yield Advice(STATES[result.verdict], f"{_name(result)}: {result.verdict}", text, then)


def _of_step(outcome: Outcome) -> Advice:
    worst = max((finding.severity for finding in outcome.findings), default=Severity.INFO)
    named = dict.fromkeys(finding.slug for finding in outcome.findings if finding.severity is worst)
    command = "\n".join(f"modelcheck explain {slug}" for slug in named if worst >= Severity.WARNING)
    what = "failed" if outcome.verdict == FAILED else "warns"
    return Advice(STATES[outcome.verdict], f"{outcome.item} {what}", outcome.message, command=command)


def again(record: JobRecord, answered: Answer) -> str:
    """The command that runs the job again, where there is a reason to."""
    return "" if answered.verdict == PASSED else f"pytest --finetune-eval {record.file}::{record.made.job}"


def remarks(record: JobRecord) -> Iterator[tuple[str, str]]:
    """(of what, text) of what is to be known beside the table."""
    for result in record.made.results:
        if result.verdict in (Verdict.PASS, Verdict.SMOKE) and result.notes:
            yield _name(result), "; ".join(result.notes)
    yield from ((label, text) for label, text in paragraphs(record.made) if label in ("got worse", "power", "note"))
