"""ADP008 lora-base-quantized."""

from __future__ import annotations

import re
from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.facts.adapter_config import Lora
from modelcheck.facts.config import Config
from modelcheck.finding import Finding, Severity

NAMED = re.compile(r"(bnb-[48]bit|gptq|awq|[48]-?bit|int[48])(?![a-z])", re.IGNORECASE)
# Types that are trained on after they are converted back, so that the base in memory is not quantised.
CONVERTED_BACK = ("mxfp4", "fp8", "compressed-tensors")


@check("ADP008", severity=Severity.WARNING)
def lora_base_quantized(lora: Lora, config: Config | None = None) -> Iterator[Finding]:
    """The adapter belongs to a quantised base.

    Symptoms: answers are garbage, or worse than they should be

    Why: an adapter learns to correct the base that it sees. Merging it into a 4-bit base rounds the result once more,
    and merging it into the 16-bit original adds it to weights that it was not trained on; servers load the quantised
    base that the file names, and run it slowly or not at all (vLLM has bitsandbytes out of its tree).

    Common causes:
        - QLoRA on a repository that is already quantised (`...-bnb-4bit`). Solution: name the 16-bit original as the
          base to merge into and to serve, and evaluate the merged model, not the adapter on the 4-bit base.

    Bad:
        ```json adapter_config.json
        {"peft_type": "LORA", "r": 8, "target_modules": ["q_proj"],
         "base_model_name_or_path": "somebody/llama-3.2-3b-bnb-4bit"}
        ```
    Good:
        ```json adapter_config.json
        {"peft_type": "LORA", "r": 8, "target_modules": ["q_proj"], "base_model_name_or_path": "somebody/llama-3.2-3b"}
        ```

    Traps: QLoRA that quantises a 16-bit base as it loads leaves no trace in the file, and is merged into that base.
    Bases in MXFP4 or FP8 are converted back for training: information.

    Sources: unsloth's and peft's notes on merging; 4 of 25 user adapters have such a base.
    """
    quantised = config.root.get("quantization_config") if config else None
    method = quantised.get("quant_method") if isinstance(quantised, dict) else None
    named = NAMED.search(lora.base.rstrip("/").rpartition("/")[2]) if lora.base else None
    if not named and not method:
        return
    what = f"base_model_name_or_path is {lora.base!r}" if named else f"the base's quantization_config says {method!r}"
    yield Finding(
        f"{what}, a quantised model, expected the 16-bit one for merging and serving: a merge into it rounds the "
        "adapter away in part, and the loss of quantisation stays",
        lora.file,
        "/base_model_name_or_path",
        Severity.INFO if not named and method in CONVERTED_BACK else Severity.WARNING,
    )
