"""What vLLM says when it gives up, and the setting that helps.

The texts are those of vLLM 0.32: most were seen on its CPU build, those of a device's memory were read in its source.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

SAVED_WRAPPED = "the folder was saved while the model was wrapped for training: merge, unwrap and save it again"
OTHER_DIMENSIONS = "config.json and the weights are of two models: save both together"
MORE_MEMORY = "eval.vllm.gpu_memory_utilization higher (on CPU: VLLM_CPU_KVCACHE_SPACE, in GiB, in eval.env)"
# (pattern in the text, what to do), the first that is found counts: causes stand before what follows from them.
FAILURES: Sequence[tuple[str, str]] = (
    # Memory.
    (
        r"Free memory on device .* is less than",
        "another process holds the device: end it, or set eval.vllm.gpu_memory_utilization lower",
    ),
    (
        r"KV cache is needed, which is larger than",
        f"set eval.vllm.max_model_len to what prompts and answers need, or {MORE_MEMORY}",
    ),
    (
        r"No available memory for the cache blocks",
        f"the weights fill what vLLM may take: set {MORE_MEMORY}, or tensor_parallel_size",
    ),
    (
        r"out of memory occurred when warming up|CUDA out of memory|torch\.OutOfMemoryError|OutOfMemoryError",
        "set eval.vllm.max_num_seqs or gpu_memory_utilization lower, or tensor_parallel_size higher",
    ),
    # Lengths.
    (
        r"greater than the derived max_model_len",
        "set eval.vllm.max_model_len to at most what the message derives from config.json, or leave it out",
    ),
    (
        r"maximum context length is \d+ tokens",
        "a prompt does not fit: set eval.vllm.max_model_len higher if the model allows it, or leave the row out",
    ),
    # Several devices and replicas.
    (r"must be divisible by tensor parallel size", "set eval.vllm.tensor_parallel_size to a divisor of the heads"),
    (
        r"LLM\(data_parallel_size=\d+\) is not supported",
        'vLLM runs several replicas only as a server: let backend = "openai" start one',
    ),
    # The class of the model.
    (
        r"was supported in vLLM until v[\d.]+",
        'name an interpreter with that version of vLLM as eval.python, or evaluate with backend = "transformers"',
    ),
    (r"is not supported in-tree anymore", "install the plugin that the message names into eval.python's environment"),
    (
        r"Model architectures \[.*\] (are not supported|failed to be inspected)",
        'name a class that vLLM has in `architectures` of config.json, or evaluate with backend = "transformers"',
    ),
    (r"Should have a `model_type` key", "config.json needs the base's `model_type`"),
    (
        r"does not recognize this architecture",
        "a newer transformers in eval.python's environment may know this model_type; else take the base's",
    ),
    (
        r"contains custom code which must be executed",
        "the model runs code of its own: read it, then set eval.vllm.args = { trust_remote_code = true }",
    ),
    # Configuration.
    (
        r"Found conflicts between 'rope_type=|Missing required keys in `rope_parameters`|Unknown RoPE scaling type",
        "take rope_parameters (or rope_scaling) of config.json from the base",
    ),
    (r"is not a multiple of the number of attention heads", "take num_attention_heads and hidden_size from the base"),
    (
        r"Unsupported CPU attention configuration: head_dim=",
        'vLLM\'s CPU build has no attention for heads of that width: evaluate this model with backend = "transformers"',
    ),
    (r"does not support float16", 'set dtype = "bfloat16" for the job'),
    (r"module 'torch' has no attribute", "`dtype` of config.json is no dtype of torch: take the base's"),
    # Weights.
    (r"There is no module or parameter named '(base_model|_orig_mod)", SAVED_WRAPPED),
    (r"has no attribute `?'?base_layer", SAVED_WRAPPED),
    (r"The available parameters .*'(qzeros|qweight)'", "drop the leftover quantization_config from config.json"),
    (r"There is no module or parameter named", OTHER_DIMENSIONS),
    (r"exceeds dimension size", OTHER_DIMENSIONS),
    (
        r"Weight files referenced in index but missing",
        "save the folder again: model.safetensors.index.json is not its own",
    ),
    (r"Following weights were not initialized from checkpoint", "the folder lacks tensors: save it again, whole"),
    (
        r"Unknown quantization method: (bitsandbytes|gguf)",
        "install vLLM's plugin for it; if the weights are not quantized, drop quantization_config from config.json",
    ),
    (
        r"weight_loader[\s\S]*AssertionError",
        "vocab_size of config.json is not the number of embedding rows: set it to them",
    ),
    # Beside the weights.
    (
        r"Can't load (image|video|feature) processor",
        "save the processor beside the model, or set eval.vllm.args = { language_model_only = true }",
    ),
    (
        r"Tokenizer class TokenizersBackend does not exist",
        "the tokenizer was saved by transformers 5: eval.python's environment needs transformers 5 too",
    ),
    (
        r"operator torchvision::nms does not exist",
        "torchvision was built for another torch: take it out of the environment",
    ),
    (r"Invalid repository ID or local directory specified", "there is no config.json in that folder"),
    (r"Failed to infer device type", "vLLM finds no device that it was built for: see that the driver works"),
)


def remedy(text: str) -> str | None:
    """What helps against the failure that a text tells of; None where it is none of these."""
    return next((help_ for pattern, help_ in FAILURES if re.search(pattern, text)), None)
