"""ADP002 lora-fused-qkv."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.facts.adapter_config import Lora
from modelcheck.facts.base_modules import BaseModules
from modelcheck.facts.files import some
from modelcheck.facts.fused import stored_otherwise
from modelcheck.facts.lora_targets import LoraTargets
from modelcheck.finding import Finding, Severity


@check("ADP002", severity=Severity.ERROR)
def lora_fused_qkv(lora: Lora, lora_targets: LoraTargets, base_modules: BaseModules) -> Iterator[Finding]:
    """LoRA targets q/k/v or gate/up where the base has them fused in one layer, or the reverse.

    Symptoms: training runs, and part of the model does not learn

    Why: Phi-3 and others hold the three attention projections in `qkv_proj` and the two of the MLP in `gate_up_proj`.
    The usual list of seven names then fits two of them, `o_proj` and `down_proj`, and PEFT trains those without a word
    about the rest. The run looks normal and attention is never adapted.

    Common causes:
        - The list of a Llama recipe on a model with fused layers. Solution: `qkv_proj`, `gate_up_proj`, `o_proj`,
          `down_proj` for a new run.
        - A list for the fused original on a converted, unfused copy. Solution: the separate names.

    Bad:
        ```json adapter_config.json
        {"peft_type": "LORA", "r": 8, "target_modules": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]}
        ```
    Good:
        ```json adapter_config.json
        {"peft_type": "LORA", "r": 8,
         "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]}
        ```

    Traps: copies of Phi-3 and Phi-4 in Llama's layout have separate layers: the headers say what is there, not the
    name of the model. A vision tower may be fused beside a language model that is not. Experts in one tensor are
    another rule.

    Fix safety: unsafe. target_modules gets the names of the base, for a new training run; a trained adapter keeps those
    that it was trained with. With --split-fused, and Phi-3 as the target, the layers of the model are split instead:
    the same numbers under the class of Llama or, with a sliding window, of Mistral, whose logits in float32 were equal
    to the last bit. Not with long rotary factors or a partial rotation, which those classes do not have.

    Sources: kaito-project/kaito's Phi-3 adapters; LLaMA-Factory#4020, vllm#4715, vllm#4915, peft PR #1375.
    """
    found = stored_otherwise(lora, lora_targets, base_modules)
    if found:
        trained = sorted({name.rpartition(".")[2] for name in lora_targets.modules})
        yield Finding(
            f"target_modules names {some(list(found))}, but the base holds these weights in "
            f"{' and '.join(dict.fromkeys(found.values()))}, expected the names of the base: "
            + (f"only {some(trained)} would be trained" if trained else "PEFT finds nothing to train"),
            lora.file,
            "/target_modules",
        )
