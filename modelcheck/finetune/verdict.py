"""What is asked of a suite, and what came out: one row of the report."""

from __future__ import annotations

import enum
import os
from collections.abc import Mapping
from dataclasses import dataclass

from modelcheck.errors import UsageError, did_you_mean
from modelcheck.finetune.pairing import Item

WORST = 50
ON_INCONCLUSIVE = ("fail", "warn", "xfail")


class Verdict(enum.StrEnum):
    """The interval lies within what is asked, or outside of it, or reaches over its edge."""

    PASS = "PASS"  # noqa: S105 - no password
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    SMOKE = "SMOKE"  # only some of the items were asked: nothing is decided


def in_ci() -> bool:
    """Whether this runs where nobody is there to read a warning."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


@dataclass(frozen=True, slots=True)
class Guard:
    """An old skill: the score may fall by `margin`, in (0, 1), and no more."""

    margin: float

    def __post_init__(self) -> None:
        _within(self.margin, "margin", lowest_too=False)


@dataclass(frozen=True, slots=True)
class Target:
    """The new skill: the score must rise by `min_gain`, in [0, 1), at least."""

    min_gain: float

    def __post_init__(self) -> None:
        _within(self.min_gain, "min_gain", lowest_too=True)


@dataclass(frozen=True, slots=True)
class Floor:
    """An absolute demand: the tuned model's mean score is `minimum`, in (0, 1), at least."""

    minimum: float

    def __post_init__(self) -> None:
        _within(self.minimum, "min", lowest_too=False)


@dataclass(frozen=True, slots=True)
class Ceiling:
    """An absolute demand: the tuned model's mean score is `maximum`, in (0, 1), at most."""

    maximum: float

    def __post_init__(self) -> None:
        _within(self.maximum, "max", lowest_too=False)


Role = Guard | Target | Floor | Ceiling


def _within(value: float, name: str, *, lowest_too: bool) -> None:
    if not (0 <= value < 1 if lowest_too else 0 < value < 1):
        lowest = "from 0" if lowest_too else "above 0"
        raise UsageError(f"{name} is {value!r}, expected a share of the score {lowest} and below 1, such as 0.02")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How sure the gate must be, and what becomes of what it cannot tell.

    alpha            the one-sided error: the share of runs that pass although they lie on the edge of what is allowed
    power            the probability with which a real difference is to be found, for planning
    on_inconclusive  fail, warn or xfail; None: fail in CI for a guard that is already seen below its margin, else warn
    ci               this is a run in CI
    must_beat_arms   warn or fail: what a tuned model does that is not surely better than every arm
    smoke            only some items are asked, to see that everything runs: every verdict is SMOKE
    """

    alpha: float = 0.05
    power: float = 0.8
    on_inconclusive: str | None = None
    must_beat_arms: str = "warn"
    ci: bool = False
    smoke: bool = False

    def __post_init__(self) -> None:
        for name in ("alpha", "power"):
            value = getattr(self, name)
            if not 0 < value < 1:
                raise UsageError(f"{name} is {value!r}, expected a number between 0 and 1")
        if self.alpha > 0.5:
            raise UsageError(f"alpha is {self.alpha!r}, expected the share of errors, at most 0.5, such as 0.05")
        word = self.on_inconclusive
        if word is not None and word not in ON_INCONCLUSIVE:
            known = " or ".join(ON_INCONCLUSIVE)
            raise UsageError(f"on_inconclusive is {word!r}{did_you_mean(word, ON_INCONCLUSIVE)}; expected {known}")


@dataclass(frozen=True, slots=True)
class Needed:
    """How many items would decide, and under which assumption, in words."""

    items: int
    assumption: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """What only a comparison of the same items before and after can say.

    wins, losses   items that scored more, or less, after than before
    mcnemar        exact two-sided p, for information, where every score is 0 or 1 and there is one run and repeat
    between        variance of the difference between items, and
    within         its part that comes of sampling: more repeats make only this part smaller
    runs           the mean difference of each training run
    p_regressed    one-sided p of "not worse", for the list of what got worse
    power          the probability of PASS if nothing changed (guards), the spread guessed from the base
    starts_right   of the losses, those whose answer begins with the reference: right, and then it goes on
    """

    wins: int
    losses: int
    mcnemar: float | None
    between: float
    within: float
    runs: tuple[float, ...]
    p_regressed: float
    power: float
    starts_right: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One suite and one metric under one demand.

    `value` is what is judged: the paired difference, or the rate, ratio or gap itself; `lower` and `upper` are its
    one-sided bounds; PASS needs them at or above `at_least` and at or below `at_most`. `mde` is the minimum
    detectable effect. `base` and `tuned` are means, `lost` the critical items that were always right and are always
    wrong. `primary` says that this is what the model was tuned for. `worst` are at most `WORST` items that do badly:
    those that lost most, then those that are still wrong.
    """

    suite: str
    metric: str
    role: str
    items: int
    clusters: int
    repeats: int
    base: float | None
    tuned: float
    value: float
    lower: float
    upper: float
    at_least: float | None = None
    at_most: float | None = None
    alpha: float
    verdict: Verdict
    mde: float | None = None
    needed: Needed | None = None
    pairs: Pairs | None = None
    slices: Mapping[str, tuple[float, float, int]]
    lost: tuple[str, ...] = ()
    primary: bool = False
    worst: tuple[Item, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def against(self) -> str:
        """What the tuned model is held against: the base, or what a metric such as `vs few-shot` names."""
        return self.metric.removeprefix("vs ") if self.metric.startswith("vs ") else "base"


def decide(lower: float, upper: float, at_least: float | None, at_most: float | None) -> Verdict:
    """PASS where both bounds keep to the limits, FAIL where one limit lies beyond both bounds."""
    if (at_least is not None and upper < at_least) or (at_most is not None and lower > at_most):
        return Verdict.FAIL
    kept = (at_least is None or lower >= at_least) and (at_most is None or upper <= at_most)
    return Verdict.PASS if kept else Verdict.INCONCLUSIVE


def consequence(result: Result, policy: Policy) -> str:
    """What the verdict does to the run: pass, fail, warn, xfail or smoke."""
    if result.role == "arm" and result.verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE):
        return policy.must_beat_arms
    if result.verdict is not Verdict.INCONCLUSIVE:
        return result.verdict.lower()
    if policy.on_inconclusive is not None:
        return policy.on_inconclusive
    seen_below = result.at_least is not None and result.value < result.at_least
    return "fail" if policy.ci and result.role == "guard" and seen_below else "warn"
