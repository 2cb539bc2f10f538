"""A result in words: what was seen, with its interval, what was asked, how many items would decide, what to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from modelcheck.finetune.hints import Hint, explaining
from modelcheck.finetune.verdict import Pairs, Result, Verdict

SHOWN = "the worst items show what it answers now"
NEXT = {
    "guard": f"mix rows of the old skill into the training data, or train with a lower rate or fewer steps; {SHOWN}",
    "target": (
        "see that the weights changed, that the answers carry the loss and that the training answers are right, then "
        f"train on more rows; {SHOWN}"
    ),
    "floor": f"read what is wrong: {SHOWN}",
    "ceiling": f"read what is wrong: {SHOWN}",
    "stop": "see that the labels hold the end-of-turn token and that the engine stops at it",
    "truncation": "read the longest answers: where they are right raise max_tokens, else the model does not stop",
    "length": "read the longest and the shortest answers beside those of the base",
    "overfit": "train fewer epochs, or on more rows",
    "arm": "ship the arm, unless its tokens cost more than training does",
}
RATES = {"stop": "answers that stop by themselves", "truncation": "answers cut by the limit", "length": "length ratio"}
BOUGHT = {
    Verdict.PASS: "training is better than the arm",
    Verdict.INCONCLUSIVE: "training bought nothing measurable over the arm",
    Verdict.FAIL: "training did worse than the arm",
    Verdict.SMOKE: "training against the arm",
}


def message(result: Result, hints: Sequence[Hint] = ()) -> str:
    """The result in one paragraph, without a full stop at its end. A hint that explains it says what to do next."""
    return "; ".join([f"{result.suite} {result.metric}: {_seen(result)}", asked(result), *_details(result, hints)])


def asked(result: Result) -> str:
    """What is asked of a result."""
    if result.role == "guard":
        return f"a fall of {-(result.at_least or 0.0):g} is allowed"
    if result.role == "arm":
        return f"more than the arm {result.against} is asked"
    if result.role == "target":
        return f"a gain of {result.at_least or 0.0:g} is asked"
    limits = (("at least", result.at_least), ("at most", result.at_most))
    return " and ".join(f"{word} {limit:g}" for word, limit in limits if limit is not None) + " is asked"


def _seen(result: Result) -> str:
    size = f"{result.items} items" + f" x {result.repeats}" * (result.repeats > 1)
    interval = f"{100 - 200 * result.alpha:g} % interval"
    signed = f"{result.value:+.3f}, {interval} {result.lower:+.3f} to {result.upper:+.3f}"
    if result.role in ("guard", "target"):
        verb = "fell" if result.value < 0 else "rose" if result.value > 0 else "stayed"
        return f"{verb} from {result.base:.3f} to {result.tuned:.3f} on {size}, {signed}"
    if result.role == "arm":
        bought = f"{BOUGHT[result.verdict]} {result.against}"
        return f"{bought}: {result.base:.3f} with it, {result.tuned:.3f} trained on {size}, {signed}"
    if result.role == "overfit":
        return f"{result.tuned:.3f} on trained rows, {result.base:.3f} on new ones, a gap of {signed}"
    what = RATES.get(result.metric, "mean")
    return f"{what} {result.value:.3f} on {size}, {interval} {result.lower:.3f} to {result.upper:.3f}"


def _details(result: Result, hints: Sequence[Hint]) -> Iterator[str]:
    pairs = result.pairs
    if pairs is not None and (result.verdict is not Verdict.PASS or pairs.losses):
        yield _pairs(pairs)
    if pairs is not None and result.verdict is Verdict.FAIL and pairs.starts_right:
        yield f"{pairs.starts_right} of the lost answers begin with the reference and go on"
    if result.lost:
        named = ", ".join(item[:12] for item in result.lost[:5]) + ", ..." * (len(result.lost) > 5)
        yield f"{len(result.lost)} critical item{'s' * (len(result.lost) > 1)} lost, none may be ({named})"
    yield from result.notes
    if result.verdict is Verdict.INCONCLUSIVE:
        yield from _undecided(result)
    elif result.verdict is Verdict.FAIL:
        cause = next(iter(explaining([result], hints)), None)
        usual = NEXT[result.metric if result.role == "behaviour" else result.role]
        yield f"next: {usual}" if cause is None else f"next: mend the likely cause first, {cause.source}"


def _pairs(pairs: Pairs) -> str:
    text = f"{pairs.losses} item{'s' * (pairs.losses != 1)} lost, {pairs.wins} won"
    return text if pairs.mcnemar is None else f"{text} (McNemar p {pairs.mcnemar:.2g})"


def _undecided(result: Result) -> Iterator[str]:
    if result.role == "arm":
        needed = result.needed
        more = f", or add items: about {needed.items} would decide {needed.assumption}" if needed else ""
        yield f"next: {NEXT['arm']}{more}"
        return
    yield "these items cannot tell"
    spread = 0.0 if result.pairs is None else result.pairs.within + result.pairs.between
    if result.pairs is not None and spread and result.repeats > 1:
        share = result.pairs.within / spread
        yield f"{share:.0%} of the variance comes of sampling, which more repeats would shrink, the rest of the items"
    if result.needed is not None:
        yield f"next: add items, about {result.needed.items} would decide {result.needed.assumption}"
    else:
        yield "next: the truth seems to lie on the limit, where no number of items decides: move the limit"
