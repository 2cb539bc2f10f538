"""TRN004 asked-but-frozen."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.facts.training import Trainability
from modelcheck.finding import Finding, Severity
from modelcheck.names import TRAINING


@check("TRN004", severity=Severity.ERROR)
def asked_but_frozen(trainability: Trainability) -> Iterator[Finding]:
    """Parameters that the set-up asks to train do not learn.

    Symptoms: training runs, and part of the model does not learn

    Why: A LoRA target that names no module of the model is skipped, and so is a module that a loader has frozen. The
    run looks healthy and trains a fraction: in a recorded one only o_proj and the MLP, 24 % of what the same recipe
    trained elsewhere.

    Common causes:
        - Targets q_proj, k_proj, v_proj in a model whose attention is fused. Solution: qkv_proj, or `all-linear`.
        - modules_to_save or trainable tokens that the loader ignores. Solution: train without that loader, or check
          what it prints.
        - A vision tower or router that the trainer freezes. Solution: leave it out of the targets if that is meant.

    Bad:
        ```json training_evidence.json
        {"trainability": {"method": "lora", "kinds": {"q": {"total": 8192, "trained": 2048, "reached": 8192},
            "embeddings": {"total": 24704, "trained": 0, "reached": 0}, "k": {"total": 8192, "trained": 0,
            "reached": 0}}, "frozen": ["model.layers.0.self_attn.k_proj (k)"]}}
        ```
    Good:
        ```json training_evidence.json
        {"trainability": {"method": "lora", "kinds": {"q": {"total": 8192, "trained": 2048, "reached": 8192},
            "embeddings": {"total": 24704, "trained": 0, "reached": 0}}}}
        ```

    Traps: fused expert weights are no linear modules: `all-linear` does not ask for them, and they are left alone.

    Sources: a recorded Phi-4-mini run; kaito-project adapters of which only o_proj and down_proj existed.
    """
    if trainability.frozen:
        yield Finding(
            f"asked to train and frozen: {', '.join(trainability.frozen)}; expected all of them to learn: "
            f"{_reached(trainability)} of the model is reached by the {trainability.method} run",
            TRAINING,
            "/trainability/frozen",
        )


def _reached(trainability: Trainability) -> str:
    kinds = trainability.kinds.values()
    total = sum(kind.get("total", 0) for kind in kinds)
    return f"{sum(kind.get('reached', 0) for kind in kinds) / total:.0%}" if total else "an unknown part"
