"""ADP006 lora-untrained."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.fact import Missing
from modelcheck.facts.adapter_tensors import AdapterTensors
from modelcheck.facts.files import Files
from modelcheck.facts.tensors import Tensor
from modelcheck.finding import Finding, Severity

CHUNK = 1 << 20
# The factor that starts at zero: B of a linear layer, A of an embedding.
STARTS_AT_ZERO = ("lora_B", "lora_embedding_A")
WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}


@check("ADP006", severity=Severity.ERROR)
def lora_untrained(files: Files, adapter_tensors: AdapterTensors, weights: str) -> Iterator[Finding]:
    """Every LoRA B matrix is zero: the adapter changes nothing.

    Symptoms: training runs, and part of the model does not learn

    Why: LoRA starts with B = 0, so that the adapted model is the base. If all of them are still zero, no gradient ever
    reached the adapter, or what was saved is not what was trained; served, it answers as the base does.

    Common causes:
        - The adapter was saved before training, or gathered empty from a sharded run. Solution: save after training, on
          the rank that holds the weights.
        - Gradients did not flow: `enable_input_require_grads` missing with gradient checkpointing. Solution: enable it.

    Bad:
        ```json adapter_config.json
        {"peft_type": "LORA", "r": 4, "target_modules": ["layers.0.self_attn.q_proj"]}
        ```
        ```json adapter_tensors.json
        {"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": ["F32", [4, 64], "normal"],
         "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight": ["F32", [64, 4], "zeros"]}
        ```
    Good:
        ```json adapter_config.json
        {"peft_type": "LORA", "r": 4, "target_modules": ["layers.0.self_attn.q_proj"]}
        ```
        ```json adapter_tensors.json
        {"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": ["F32", [4, 64], "normal"],
         "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight": ["F32", [64, 4], "normal"]}
        ```

    Traps: some layers may stay at zero (experts that were never chosen): only all of them count. PiSSA, OLoRA and LoftQ
    start with B other than zero, so there this rule cannot tell untrained from trained, and is silent. On an embedding
    the factor that starts at zero is A. Modules that are saved whole may have been trained beside it: a warning.

    Sources: peft's reset_lora_parameters; unsloth and TRL threads on adapters that answer as the base.
    """
    zeros = [t for pair in adapter_tensors.pairs.values() for role, t in pair.items() if role in STARTS_AT_ZERO]
    if not zeros:
        return
    if weights == "none":
        raise Missing("no tensor data was read", remedy="--weights embeddings")
    if any(tensor.dtype not in WIDTHS for tensor in zeros):
        raise Missing("the adapter is stored in a type that is not compared")
    if any(not _is_zero(files, tensor) for tensor in zeros):
        return
    yield Finding(
        f"all {len(zeros)} LoRA B matrices are zero, expected trained ones: the adapter changes nothing, and with it "
        "the model answers as the base does",
        adapter_tensors.file,
        zeros[0].name,
        Severity.WARNING if adapter_tensors.other else Severity.ERROR,
    )


def _is_zero(files: Files, tensor: Tensor) -> bool:
    import numpy as np

    width = WIDTHS[tensor.dtype]
    unsigned = np.dtype(f"<u{width}")
    # All bits but the sign: zero may be negative.
    mask = unsigned.type((1 << (8 * width - 1)) - 1)
    pieces = files.stream(tensor.file, tensor.start, tensor.stop, CHUNK)
    return not any((np.frombuffer(piece, unsigned) & mask).any() for piece in pieces)
