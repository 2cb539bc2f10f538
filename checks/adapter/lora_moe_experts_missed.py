"""ADP004 lora-moe-experts-missed."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.facts.adapter_config import Lora
from modelcheck.facts.adapter_tensors import AdapterTensors
from modelcheck.facts.base_modules import STACKED, BaseModules
from modelcheck.facts.files import some
from modelcheck.facts.fused import written
from modelcheck.facts.lora_targets import HALF, LoraTargets
from modelcheck.finding import Finding, Severity

NAMES = {*STACKED, *STACKED.values()}


@check("ADP004", severity=Severity.ERROR)
def lora_moe_experts_missed(
    lora: Lora, lora_targets: LoraTargets, base_modules: BaseModules, adapter_tensors: AdapterTensors | None = None
) -> Iterator[Finding]:
    """LoRA targets the MLP of a mixture of experts, whose experts are parameters that target_modules cannot reach.

    Symptoms: training runs, and part of the model does not learn

    Why: transformers 5 loads all experts of a layer into one three-dimensional parameter; some models (gpt-oss, Llama
    4, Granite) are stored so. `gate_proj`, `up_proj` and `down_proj` then match at most the shared expert, and LoRA
    lands on attention alone, while most of the model's parameters were meant.

    Common causes:
        - A list from the days when experts were linear layers. Solution: `target_parameters` with the experts' names,
          such as `mlp.experts.gate_up_proj` and `mlp.experts.down_proj`; or leave the MLP out on purpose.
        - `up_proj` without `gate_proj`, where PEFT rewrites the list for the stacked experts: it refuses. Solution:
          target both or neither.

    Bad:
        ```json config.json
        {"model_type": "tiny_moe", "architectures": ["TinyMoeForCausalLM"]}
        ```
        ```json tensors.json
        {"model.layers.0.mlp.experts.down_proj": ["BF16", [4, 64, 128], "normal"],
         "model.layers.1.mlp.experts.down_proj": ["BF16", [4, 64, 128], "normal"]}
        ```
        ```json adapter_config.json
        {"peft_type": "LORA", "r": 8, "target_modules": ["q_proj", "v_proj", "down_proj"]}
        ```
    Good:
        ```json config.json
        {"model_type": "tiny_moe", "architectures": ["TinyMoeForCausalLM"]}
        ```
        ```json tensors.json
        {"model.layers.0.mlp.experts.down_proj": ["BF16", [4, 64, 128], "normal"],
         "model.layers.1.mlp.experts.down_proj": ["BF16", [4, 64, 128], "normal"]}
        ```
        ```json adapter_config.json
        {"peft_type": "LORA", "r": 8, "target_modules": ["q_proj"], "target_parameters": ["mlp.experts.down_proj"]}
        ```

    Traps: attention alone is the norm for mixtures of experts and is no fault. `all-linear` never meant parameters: a
    warning, and so is the list as which PEFT saves it, where every name fits a shared expert or a dense layer. For
    Mixtral, Qwen3-MoE, DeepSeek and others PEFT rewrites the list itself and the experts are trained. With
    `--target 'transformers<5'` experts that are stored one by one are linear layers.

    Sources: peft#3009, peft#2527, peft#2545, vllm PR #47088, unsloth PR #6936; peft 0.21's conversion of MoE configs.
    """
    if lora_targets.refused and HALF in lora_targets.refused:
        message = f"{lora_targets.refused}, expected both of them or neither: PEFT raises an error"
        yield Finding(message, lora.file, "/target_modules")
    named = [entry for entry in written(lora) if entry.rpartition(".")[2] in NAMES]
    trained = adapter_tensors is not None and any(".experts" in module for module in adapter_tensors.pairs)
    if not base_modules.stacked or lora_targets.refused or trained or not (named or lora.all_linear):
        return
    if not base_modules.stacked & lora_targets.parameters:
        # PEFT saves `all-linear` as a list, which then names shared experts and dense layers: not what a user wrote.
        lost = any(not lora_targets.hits.get(entry) or adapter_tensors is None for entry in named)
        what = f"names {some(named)}" if named else "is all-linear"
        yield Finding(
            f"target_modules {what}, but the base's experts are parameters ({some(sorted(base_modules.stacked), 1)}), "
            "expected target_parameters for them: LoRA is put on everything else, and no expert is trained",
            lora.file,
            "/target_modules",
            Severity.ERROR if lost else Severity.WARNING,
        )
