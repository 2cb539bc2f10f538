"""WGT008 quantization-config-left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from modelcheck.check import check
from modelcheck.fact import Missing
from modelcheck.facts.embeddings import FLOATS
from modelcheck.facts.files import JsonObject
from modelcheck.facts.tensor_names import Quantization, packed, part_of
from modelcheck.facts.tensors import Shard, Tensors
from modelcheck.finding import Finding, Severity
from modelcheck.target import Targets

# What a loader finds that believes the config. Methods that are not named here may quantise on the fly, or pack
# their weights in ways that names and types do not show.
WANTS = {
    "gptq": "int32 qweight, qzeros and scales",
    "awq": "int32 qweight, qzeros and scales",
    "fp8": "float8 weights and their scales",
    "fbgemm_fp8": "float8 weights and their scales",
    "mxfp4": "uint8 blocks and scales",
    "compressed-tensors": "packed weights and their scales",
}
# Names that quantised weights have whatever their type, in files that hold little else.
SCALES = ("scales", "_scale", "scale_inv", "qzeros", "absmax", ".SCB", "quant_map")


@check("WGT008", severity=Severity.ERROR)
def quantization_config_left(
    quantization: Quantization, tensors: Tensors, shards: Mapping[str, Shard], target: Targets
) -> Iterator[Finding]:
    """config.json says that the weights are quantised, but they are plain floats.

    Symptoms: loading or serving fails; answers are garbage, or worse than they should be

    Why: the loader believes the config. For fp8 vLLM only warns and then computes NaN; for gptq and awq it stops on
    tensors that are not there; a bitsandbytes config quantises the merged weights a second time, and vLLM refuses it.

    Common causes:
        - A QLoRA adapter was merged into 16-bit weights and the config of the quantised base kept. Solution: delete
          quantization_config.
        - A quantised checkpoint was dequantised for training. Solution: as above.

    Bad:
        ```json config.json
        {"quantization_config": {"quant_method": "fp8", "activation_scheme": "dynamic"}}
        ```
    Good:
        ```json config.json
        {"quantization_config": {}}
        ```

    Traps: some repositories ask for bitsandbytes on the fly, on purpose: a warning, an error only for vLLM. A config
    that says `dequantize`, one of compressed-tensors that only quantises the KV cache or is marked dense, and
    methods that quantise while loading are no fault. Any packed or scale tensor, and a shard that is not here, end
    the question.

    Fix safety: safe where no loader can follow the config: the entry is dropped. Unsafe for bitsandbytes, which
    transformers can follow, and which somebody may want.

    Sources: unsloth#1601, unsloth#482; vLLM 0.32, measured: fp8 config on bf16 weights gives NaN.
    """
    at, settings = quantization.at, quantization.settings
    method = str(settings.get("quant_method", "")).lower()
    if method not in WANTS and "bitsandbytes" not in method and not _asks_bitsandbytes(settings):
        return
    if packed(tensors) or any(name.endswith(SCALES) for name in (*tensors, *tensors.absent)):
        return
    if settings.get("dequantize") is True or (method == "compressed-tensors" and not _quantises_weights(settings)):
        return
    if reason := part_of(shards, tensors):
        raise Missing(reason)
    if tensors.absent:
        raise Missing(
            f"{next(iter(tensors.absent.values()))} is not in the folder, so the type of all weights is unknown"
        )
    kinds = sorted({t.dtype for t in tensors.values() if t.dtype in FLOATS and len(t.shape) > 1})
    file = next(iter(tensors.values())).file if tensors else None
    has = (
        f"all {len(tensors)} tensors of {file} are {' and '.join(kinds)}"
        if len(shards) == 1
        else f"all tensors are {kinds}"
    )
    if method in WANTS:
        yield Finding(
            f"{at[1:]} says {method}, but {has}; expected {WANTS[method]}, or no such entry: loaders that believe it "
            "stop, or read noise (vLLM with fp8: NaN, with no more than a warning)",
            "config.json",
            at,
        )
    else:
        yield Finding(
            f"{at[1:]} says bitsandbytes, but {has}; expected packed weights, or no such entry after a merge: "
            "transformers quantises the weights when it loads them, stock vLLM refuses the model",
            "config.json",
            at,
            Severity.ERROR if "vllm" in target else Severity.WARNING,
        )


def _asks_bitsandbytes(settings: JsonObject) -> bool:
    return any(settings.get(key) is True for key in ("load_in_4bit", "load_in_8bit", "_load_in_4bit", "_load_in_8bit"))


def _quantises_weights(settings: Mapping[str, Any]) -> bool:
    groups = settings.get("config_groups")
    if settings.get("format") == "dense" or not isinstance(groups, dict):
        return False
    return any(isinstance(group, dict) and group.get("weights") for group in groups.values())
