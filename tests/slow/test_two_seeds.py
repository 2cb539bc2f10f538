"""The tiny job with two training seeds, from nothing to the gate."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from planted import say, tiny_job
from whole_job import STEPS, start, verdicts

pytestmark = pytest.mark.slow
# What one seed may take on two cores; idle, two of them take a quarter of it.
LIMIT = 120


def test_two_seeds_are_trained_and_judged_together(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    folder = tiny_job(tmp_path / "tiny")
    say("seeds = [0]", "seeds = [0, 1]")(folder)
    # Two runs say little of their spread, so that less can be asked of them than of one.
    say("margin = 0.05", "margin = 0.1")(folder)
    began = time.monotonic()
    run = start(folder, "-v")
    seconds = time.monotonic() - began
    record_property("figure", f"tiny job with two seeds: {seconds:.1f} s from nothing to the gate")
    assert verdicts(run) == dict.fromkeys(STEPS, "PASSED"), run.stdout
    made = folder / ".modelcheck" / "tiny"
    answers = [(made / "tuned" / f"last-seed{seed}" / "samples.jsonl").read_text() for seed in (0, 1)]
    assert [len(text.splitlines()) for text in answers] == [100, 100]
    assert len([*made.glob("run-*-seed[01]/merged/model.safetensors")]) == 2
    results = {result["suite"]: result for result in json.loads((made / "gate.json").read_text())["results"]}
    assert [len(results[suite]["pairs"]["runs"]) for suite in ("last", "add", "copy")] == [2, 2, 2]
    assert any(note.startswith("2 training runs widen") for note in results["last"]["notes"])
    assert "the widest gap of 2 training runs" in results["mirror"]["notes"]
    assert seconds < LIMIT
