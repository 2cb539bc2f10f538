"""ADP005 lora-rank-too-large."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.facts.adapter_config import Lora
from modelcheck.facts.base_modules import BaseModules
from modelcheck.facts.files import some
from modelcheck.facts.lora_targets import LoraTargets
from modelcheck.finding import Finding, Severity


@check("ADP005", severity=Severity.ERROR)
def lora_rank_too_large(lora: Lora, lora_targets: LoraTargets, base_modules: BaseModules) -> Iterator[Finding]:
    """The LoRA rank is larger than the layers it is put on.

    Symptoms: training runs, and part of the model does not learn; generation is slow, or takes too much memory

    Why: the product of the two LoRA matrices has no more rank than the smaller side of the layer. A larger `r` adds
    parameters, optimizer state and noise, and not one direction that could not be learned without it.

    Common causes:
        - A rank chosen for a large model on a small one. Solution: a rank well below the smallest targeted dimension.
        - `rank_pattern` gives a narrow layer the rank of a wide one. Solution: lower it for that layer.

    Bad:
        ```json adapter_config.json
        {"peft_type": "LORA", "r": 128, "target_modules": ["q_proj", "v_proj"]}
        ```
    Good:
        ```json adapter_config.json
        {"peft_type": "LORA", "r": 32, "target_modules": ["q_proj", "v_proj"]}
        ```

    Traps: with grouped-query attention k and v are narrow, and `all-linear` reaches gates of a single row: it is an
    error only where all targeted layers are too small, a warning where half of them are, else information. Experts in
    one tensor are left out.

    Sources: linear algebra; practitioners' advice that the rank be no larger than the smallest targeted dimension.
    """
    sides = {n: min(m.shape) for n in lora_targets.modules if (m := base_modules.layers[n]).shape and len(m.shape) == 2}
    small = {name: side for name, side in sides.items() if lora_targets.ranks[name] > side}
    if not small:
        return
    name = min(small, key=lambda n: (small[n], n))
    share = len(small) / len(sides)
    yield Finding(
        f"the rank of {some(sorted(small), 2)} exceeds the layer ({lora_targets.ranks[name]} for {name} of "
        f"{list(base_modules.layers[name].shape or ())}), expected at most {small[name]}: the surplus costs memory "
        f"and can learn nothing ({len(small)} of {len(sides)} targeted layers)",
        lora.file,
        "/r",
        Severity.ERROR if share == 1 else Severity.WARNING if 2 * len(small) >= len(sides) else Severity.INFO,
    )
