"""How often the gate is wrong, and how often it can tell, in every world of `gate_simulation`."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from gate_simulation import CEILING, CLUSTERED, CLUSTERED_CEILING, PLAIN, Cell, simulate, simulate_seeds

pytestmark = pytest.mark.slow
DRAWS = 2000


@pytest.mark.parametrize("cell", [*PLAIN, *CEILING, *CLUSTERED, *CLUSTERED_CEILING], ids=str)
def test_errors_at_the_edge_are_at_most_seven_percent(
    cell: Cell, record_property: Callable[[str, object], None]
) -> None:
    rates = simulate(cell, DRAWS)
    record_property("figure", f"gate, {cell}: {rates}")
    assert max(rates.passed_at_edge, rates.failed_at_edge) <= 0.07


@pytest.mark.parametrize("runs", [2, 3, 5])
def test_training_seeds(runs: int, record_property: Callable[[str, object], None]) -> None:
    rates = simulate_seeds(runs, DRAWS)
    record_property("figure", f"gate, {runs} training seeds of SD 0.05, n 300, margin 0.1: {rates}")
    assert max(rates.passed_at_edge, rates.failed_at_edge) <= 0.07
