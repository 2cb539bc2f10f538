"""Before a GPU second is spent: can this suite show what it is asked to show? From the base's samples alone."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from modelcheck.finetune.distributions import z
from modelcheck.finetune.pairing import by_item, mean, unit
from modelcheck.finetune.samples import Sample
from modelcheck.finetune.stats import Estimate, detectable, enough, items_needed, no_change, too_few
from modelcheck.finetune.verdict import Ceiling, Floor, Guard, Policy, Role, Target


@dataclass(frozen=True, slots=True)
class Plan:
    """What a suite will be able to see: `mde` is the minimum detectable effect, `needed` the items it would take.

    `warning` says why a suite that is large enough may yet see nothing.
    """

    items: int
    base: float
    mde: float
    needed: int | None
    reachable: bool
    message: str
    warning: str = ""


def plan(base: Iterable[Sample], role: Role, suite: str = "suite", policy: Policy | None = None) -> Plan:
    """Say whether the suite is large enough for its margin, gain or minimum; the spread is guessed (`no_change`).

    Raises NotComparable where there are no samples, or repeats are missing.
    """
    policy = policy or Policy()
    found = by_item(base, f"{suite}: base").values()
    scores = [mean(s.score for s in samples) for samples in found]
    centre = mean(scores)
    guess = no_change(scores, [unit(samples[0]) for samples in found])
    if not isinstance(role, Guard | Target):
        return _limit(guess, centre, role, suite, policy)
    mde = detectable(guess, policy.alpha, policy.power) if math.isfinite(guess.se) else 1.0
    distance = role.margin if isinstance(role, Guard) else 1 - centre - role.min_gain
    needed = items_needed(guess, distance, policy.alpha, policy.power)
    if needed is not None:
        needed = max(needed, enough(guess, distance))
    reachable = mde <= distance and not too_few(guess, distance)
    if reachable:
        message = f"{suite}: {guess.items} items can show a difference of {mde:.3f}"
    elif isinstance(role, Guard):
        message = (
            f"{suite}: {guess.items} items can show a drop of {mde:.3f} at best, margin is {role.margin:g}"
            f"{', and under 50 items five must fit in it' * too_few(guess, distance)}: a model that did not change is "
            f"likely to end INCONCLUSIVE; {_remedy(needed, 'widen the margin')}"
        )
    else:
        message = _no_room(suite, role, centre, mde, needed)
    idle = isinstance(role, Guard) and centre == 0
    return Plan(guess.items, centre, mde, needed, reachable, message, _idle(suite, guess.items) if idle else "")


def _idle(suite: str, items: int) -> str:
    return (
        f"{suite}: the base scores 0 on all {items} items, expected a skill that it has: a guard with nothing to lose "
        "passes whatever is trained; look whether scorer and references are right, or guard what the base can do"
    )


def _no_room(suite: str, role: Target, base: float, mde: float, needed: int | None) -> str:
    room, asked = 1 - base, f"min_gain is {role.min_gain:g}"
    if room <= role.min_gain:
        remedy = "lower min_gain, or take items that the base does not know"
        return f"{suite}: the base scores {base:.3f} already, {asked}: no model can pass; {remedy}"
    return (
        f"{suite}: the base scores {base:.3f}, so even a perfect model gains {room:.3f}; {asked} and differences under "
        f"{mde:.3f} do not show; {_remedy(needed, 'lower min_gain')}"
    )


def _limit(guess: Estimate, base: float, role: Floor | Ceiling, suite: str, policy: Policy) -> Plan:
    """A limit needs so many items that not one failure among them proves it (Wilson)."""
    name, limit = ("min", role.minimum) if isinstance(role, Floor) else ("max", role.maximum)
    allowed = 1 - limit if isinstance(role, Floor) else limit
    least = z(1 - policy.alpha) ** 2 * (1 - allowed) / allowed
    needed = math.ceil(least * guess.items / guess.effective)
    reachable = guess.effective >= least
    count = f"{suite}: {guess.items} items, {name} is {limit:g}"
    message = f"{count}: even without one failure that takes {needed} items; add items or move {name}"
    return Plan(guess.items, base, allowed, needed, reachable, count if reachable else message)


def _remedy(needed: int | None, otherwise: str) -> str:
    return f"it takes about {needed} items, or {otherwise}" if needed else f"{otherwise}: no number of items would do"
