"""ADP007 lora-tensor-mismatch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from modelcheck.check import check
from modelcheck.facts.adapter_config import Lora
from modelcheck.facts.adapter_tensors import AdapterTensors
from modelcheck.facts.base_modules import BaseModules
from modelcheck.facts.files import some
from modelcheck.facts.lora_shapes import alone, strangers, untouched, wrong_ranks, wrong_shapes
from modelcheck.facts.lora_targets import LoraTargets
from modelcheck.facts.tensors import Tensors
from modelcheck.finding import Confidence, Finding, Severity


@check("ADP007", severity=Severity.ERROR)
def lora_tensor_mismatch(
    lora: Lora, adapter_tensors: AdapterTensors, lora_targets: LoraTargets, base_modules: BaseModules, tensors: Tensors
) -> Iterator[Finding]:
    """The tensors of the adapter do not fit its configuration or its base.

    Symptoms: loading or serving fails; training runs, and part of the model does not learn

    Why: PEFT stops at a shape that does not fit, but what it has no place for it drops: a tensor under another name is
    not loaded, its layer stays as the base has it, and a merge silently leaves it out.

    Common causes:
        - An adapter of another base, or of the base after its vocabulary was resized. Solution: the base that it was
          trained on, resized in the same way first.
        - `r` was changed in adapter_config.json after training. Solution: put back the rank of the tensors.
        - A state dict was saved by hand, with the wrapper's names in it. Solution: save with `save_pretrained`.

    Bad:
        ```json adapter_config.json
        {"peft_type": "LORA", "r": 8, "target_modules": ["layers.0.self_attn.q_proj"]}
        ```
        ```json adapter_tensors.json
        {"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": ["F32", [4, 64], "normal"],
         "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight": ["F32", [96, 4], "normal"]}
        ```
    Good:
        ```json adapter_config.json
        {"peft_type": "LORA", "r": 4, "target_modules": ["layers.0.self_attn.q_proj"]}
        ```
        ```json adapter_tensors.json
        {"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": ["F32", [4, 64], "normal"],
         "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight": ["F32", [64, 4], "normal"]}
        ```

    Traps: `rank_pattern` overrules `r`. Layers of GPT-2 are stored transposed, embeddings read so. Models in memory
    have prefixes that files have not. Experts in one tensor have the rank of all of them together. Magnitude vectors
    and saved modules are no pairs.

    Sources: peft's save_and_load.py; peft#1554, peft#1300 (rows of resized embeddings).
    """
    consequence = "the adapter does not load, or these parts of it are left out"
    expected = "expected what PEFT saves"
    yield from _told(adapter_tensors, alone(adapter_tensors), expected, consequence)
    ranks = wrong_ranks(adapter_tensors, lora_targets.ranks, lora.rank)
    yield from _told(adapter_tensors, ranks, "expected that rank", "loading stops with a size mismatch")
    yield from _told(adapter_tensors, strangers(adapter_tensors, base_modules), "expected one of its own", consequence)
    shapes = wrong_shapes(adapter_tensors, base_modules, tensors)
    yield from _told(adapter_tensors, shapes, "expected the same", "loading stops with a size mismatch")
    lacking = untouched(lora, adapter_tensors, lora_targets)
    if lacking and adapter_tensors.pairs:
        message = (
            f"target_modules covers {some(lacking)} of the base, for which the adapter has no tensors, expected a "
        )
        yield Finding(
            f"{message}pair for each ({len(lacking)} lack one): these layers stay as the base has them",
            lora.file,
            "/target_modules",
            Severity.WARNING,
            Confidence.LOW if base_modules.nested else Confidence.MEDIUM,
        )


def _told(
    adapter: AdapterTensors, faults: Iterable[tuple[str, str]], expected: str, consequence: str
) -> Iterator[Finding]:
    """One finding for a kind of fault, however many tensors have it."""
    found = list(faults)
    if found:
        name, fault = found[0]
        more = f" (and {len(found) - 1} more like it)" if len(found) > 1 else ""
        yield Finding(f"{name} {fault}{more}, {expected}: {consequence}", adapter.file, name)
