"""New rows of every type, number and length of the mean: told apart, and silent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from new_rows import rows_set, told_apart
from support import proposed

from modelcheck.edit import SetRows
from modelcheck.facts.embeddings import Embeddings

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("number", [3, 4, 8, 64, 256])
@pytest.mark.parametrize("mean", [0, 0.5, 1, 2, 3])
def test_new_rows_are_told_apart(tmp_path: Path, dtype: str, number: int, mean: float) -> None:
    told_apart(tmp_path, dtype, number, mean)


def test_smollm2s_identical_rows_get_a_norm_as_others_have(
    cached: Callable[[str], Path], record_property: Callable[[str, str], None]
) -> None:
    proposal = proposed(cached("smollm2"), unsafe=True, options=["all-untrained"], select=["weights"], pedantic=True)
    assert proposal.faults == []
    [(tensor, ids)] = rows_set(proposal).items()
    assert (tensor, sorted(ids)) == ("model.embed_tokens.weight", [5, *range(7, 12), *range(13, 17), 48047])
    # <|im_start|> and <|im_end|> lie near the unused rows and are in use: nothing may touch them.
    assert ids.isdisjoint({1, 2})
    [edit] = [edit for edit in proposal.plan.edits if isinstance(edit, SetRows)]
    norms = sorted(float(np.linalg.norm(row)) for row in edit.rows.values())
    embeddings: Embeddings = proposal.facts["embeddings"]
    all_norms = embeddings.scan.norms
    assert all_norms.min() < norms[0] <= norms[-1] < np.median(all_norms)
    after = [f.message for f in proposal.after.findings if f.slug == "untrained-rows"]
    assert not any("bit-identical" in message for message in after)
    record_property(
        "figure",
        f"SmolLM2: {len(norms)} new rows of norm {norms[0]:.2f} to {norms[-1]:.2f}; its own have "
        f"{all_norms.min():.2f} to {all_norms.max():.2f}, median {np.median(all_norms):.2f}",
    )
