"""Faults that are planted in the job or the checkpoint and told before a step is trained, in one run of pytest."""

from __future__ import annotations

import pytest
from planted import BEFORE_TRAINING, Results, first_failure, results, tiny_job


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("planted")
    for name, fault in BEFORE_TRAINING.items():
        fault.plant(tiny_job(folder / name, name, rows=64))
    return results(folder)


@pytest.mark.parametrize("name", BEFORE_TRAINING)
def test_it_is_told_before_training(name: str, found: Results) -> None:
    fault = BEFORE_TRAINING[name]
    step, message = first_failure(found[name])
    assert step == fault.item, message
    assert fault.says in message
    after = list(found[name])[list(found[name]).index(step) + 1 :]
    assert {found[name][later][0] for later in after} == {"skipped"}
