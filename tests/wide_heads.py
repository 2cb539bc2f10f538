"""The tiny base with attention heads twice as wide, which computes the same: vLLM's CPU attention begins at 32."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

TWICE = 2


def widened(base: Path, folder: Path) -> Path:
    """A copy of a Llama folder in `folder` whose heads have twice the dimensions, the new ones zero.

    Pair i of a rotary head turns with theta^(-2i/d). In a head of 2d dimensions that is the frequency of pair 2i, so
    this is where it goes. Scores are divided by the root of the head's width: queries grow by the root of two.
    """
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(base, folder)
    config = json.loads((folder / "config.json").read_text())
    old = config["head_dim"]
    config["head_dim"] = old * TWICE
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    tensors = load_file(folder / "model.safetensors")
    place = torch.tensor([TWICE * i for i in range(old)])
    for name, tensor in tensors.items():
        if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight")):
            tensors[name] = _spread(tensor, old, place)
        elif name.endswith("o_proj.weight"):
            tensors[name] = _spread(tensor.T, old, place).T.contiguous()
        if name.endswith("q_proj.weight"):
            tensors[name] *= math.sqrt(TWICE)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def _spread(rows: Any, old: int, place: Any) -> Any:
    """(heads x old, n) to (heads x 2 old, n), the rows of each head where `place` says."""
    heads = rows.reshape(-1, old, rows.shape[1])
    wide = heads.new_zeros(heads.shape[0], old * TWICE, rows.shape[1])
    wide[:, place] = heads
    return wide.reshape(-1, rows.shape[1])
