"""How often training is wrongly said to have bought something, or to have done worse than an arm."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest
from gate_samples import run

from modelcheck.finetune.arm_verdict import against
from modelcheck.finetune.verdict import Policy, Verdict

pytestmark = pytest.mark.slow
DRAWS, ITEMS = 250, 100
# What each arm loses against the tuned model. The truth is always that one arm at least is as good.
WORLDS = {
    "one arm, as good": [0.0],
    "three arms, all as good": [0.0, 0.0, 0.0],
    "three arms, one as good and two far behind": [0.0, 0.4, 0.4],
}


@pytest.mark.parametrize("behind", WORLDS.values(), ids=WORLDS)
def test_how_often_it_is_wrong(behind: Sequence[float], record_property: Callable[[str, object], None]) -> None:
    draw = random.Random(7)
    bought = worse = 0
    for _ in range(DRAWS):
        ease = [draw.betavariate(2, 2) for _ in range(ITEMS)]
        *arms, tuned = [run([float(draw.random() < p - less) for p in ease]) for less in (*behind, 0.0)]
        results = against({str(n): arm for n, arm in enumerate(arms)}, tuned, [tuned], "skill", Policy())
        bought += all(result.verdict is Verdict.PASS for result in results)
        worse += any(result.verdict is Verdict.FAIL for result in results)
    told = f"{len(behind)} arms, {behind.count(0.0)} as good as training: said to be bought in {bought / DRAWS:.3f}, "
    record_property("figure", f"{told}to be worse in {worse / DRAWS:.3f} of {DRAWS} draws")
    # 0.05, and three standard errors of so many draws.
    assert max(bought, worse) <= (0.05 + 3 * (0.05 * 0.95 / DRAWS) ** 0.5) * DRAWS
