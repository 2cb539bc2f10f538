"""What vLLM says when it gives up, where in its log the cause stands, and the setting that helps.

The texts are those of vLLM 0.32: most were seen on its CPU build, those of accelerators were read in its source and in
that of torch (`Cannot re-initialize CUDA`) and FlashInfer (`Could not find nvcc`).
"""

from __future__ import annotations

import dataclasses
import re

from modelcheck.finetune.engines.known_failures import Failures, known
from modelcheck.finetune.job import Vllm

KEYS = [field.name for field in dataclasses.fields(Vllm)]
SAVED_WRAPPED = "the folder was saved while the model was wrapped for training: merge, unwrap and save it again"
OTHER_DIMENSIONS = "config.json and the weights are of two models: save both together"
MORE_MEMORY = "$gpu_memory_utilization higher (on CPU: VLLM_CPU_KVCACHE_SPACE, in GiB, in $env)"
REPLICAS = (
    'vLLM runs several replicas only as a server: say backend = "openai" and openai.serve = ["vllm", "serve", '
    '"{model}", "--port", "{port}", "--generation-config", "vllm", "--data-parallel-size", "2"]'
)
OTHER_BUILD = (
    'the command of this build does not find itself: in serve, say ".../bin/python", "-m", '
    '"vllm.entrypoints.openai.api_server", "--model", "{model}" in place of "vllm", "serve", "{model}"'
)
# Causes stand before what follows from them.
# `$name` is where an argument of vLLM's is set, `$env` and `$python` the variables and libraries of its process.
FAILURES: Failures = (
    # Memory.
    (
        r"Free memory on device .* is less than",
        "another process holds the device: end it, or set $gpu_memory_utilization lower",
    ),
    (
        r"KV cache is needed, which is larger than",
        f"set $max_model_len to what prompts and answers need, or {MORE_MEMORY}",
    ),
    (
        r"No available memory for the cache blocks",
        f"the weights fill what vLLM may take: set {MORE_MEMORY}, or $tensor_parallel_size",
    ),
    (
        r"out of memory occurred when warming up|CUDA out of memory|torch\.OutOfMemoryError|OutOfMemoryError",
        "set $max_num_seqs or $gpu_memory_utilization lower, or $tensor_parallel_size higher",
    ),
    # Lengths.
    (
        r"greater than the derived max_model_len",
        "set $max_model_len to at most what the message derives from config.json, or leave it out",
    ),
    (
        r"maximum context length is \d+ tokens",
        "a prompt does not fit: set $max_model_len higher if the model allows it, or leave the row out",
    ),
    # Several devices and replicas.
    (r"must be divisible by tensor parallel size", "set $tensor_parallel_size to a divisor of the heads"),
    (r"LLM\(data_parallel_size=\d+\) is not supported", REPLICAS),
    (
        r"World size \(\d+\) is larger than the number of available GPUs",
        "set $tensor_parallel_size to the devices that vLLM sees, or let CUDA_VISIBLE_DEVICES in $env name more",
    ),
    (
        r"NCCL error",
        'with NCCL_DEBUG = "INFO" in $env the log says what failed; NCCL_P2P_DISABLE = "1" helps unconnected devices',
    ),
    # The environment, which may keep a class from being looked at.
    (r"Cannot re-initialize CUDA in forked subprocess", 'set VLLM_WORKER_MULTIPROC_METHOD = "spawn" in $env'),
    (
        r"Could not find nvcc|No such file or directory: '[^']*nvcc'",
        'install the CUDA toolkit and set CUDA_HOME in $env to it, or VLLM_USE_FLASHINFER_SAMPLER = "0"',
    ),
    (
        r"No module named 'torchvision'|requires the Torchvision library",
        "models that see need torchvision: install the one made for its torch into $python",
    ),
    (
        r"operator torchvision::nms does not exist",
        "torchvision was built for another torch: take it out of $python",
    ),
    (r"No package metadata was found for vllm", OTHER_BUILD),
    # The class of the model.
    (
        r"was supported in vLLM until v[\d.]+",
        'install that version of vLLM into $python, or evaluate with backend = "transformers"',
    ),
    (r"is not supported in-tree anymore", "install the plugin that the message names into $python"),
    (
        r"Model architectures \[.*\] (are not supported|failed to be inspected)",
        'name a class that vLLM has in `architectures` of config.json, or evaluate with backend = "transformers"',
    ),
    (r"Should have a `model_type` key", "config.json needs the base's `model_type`"),
    (
        r"does not recognize this architecture",
        "a newer transformers in $python may know this model_type; else take the base's",
    ),
    (
        r"contains custom code which must be executed",
        "the model runs code of its own: read it, then set $trust_remote_code = true",
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
    (r"Bfloat16 is only supported on GPUs", 'set dtype = "float16" for the job, or "float32"'),
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
        "save the processor beside the model, or set $language_model_only = true",
    ),
    (
        r"Tokenizer class TokenizersBackend does not exist",
        "the tokenizer was saved by transformers 5: $python needs transformers 5 too",
    ),
    (
        r"default chat template is no longer allowed",
        "save the chat template with the tokenizer, as chat_template.jinja",
    ),
    (
        r"LoRA rank \d+ is greater than max_lora_rank",
        "set $max_lora_rank to the adapter's rank, or to the next of 8, 16, 32, 64, 128, 256, 320, 512",
    ),
    (r"Invalid repository ID or local directory specified", "there is no config.json in that folder"),
    (r"Failed to infer device type", "vLLM finds no device that it was built for: see that the driver works"),
    # What is left when nothing else was said.
    (
        r"Failed core proc\(s\): \{[^}]*: -9",
        "the system killed vLLM's process, most often for lack of memory: set $max_model_len or $max_num_seqs lower",
    ),
)
# {name: where it is set for our own engine, and for a server of vLLM's}.
PLACES = {"env": ("eval.env", "serve_env"), "python": ("eval.python's environment", "the environment of serve")}
# Said where another process failed, whose own words stand above.
POINTERS = re.compile(
    r"See root cause above|See stack trace (\(above\) )?for (the )?root cause|stack trace above for the"
)
OF_ITS_PROCESSES = re.compile(
    r"^\((?:EngineCore|Worker)[^)]*\) (?:.*?\] )?[\w.]*(?:Error|Exception|Exit)\b(?!\().*$", re.MULTILINE
)
AROUND, WIDTH = 2, 600


def remedy(text: str, *, served: bool = False) -> str | None:
    """What helps against the failure that a text tells of, our engine's or a server's; None for any other."""
    found = known(text, FAILURES)
    return re.sub(r"\$(\w+)( = true)?", lambda name: _setting(name, served=served), found[1]) if found else None


def cause(printed: str) -> list[str]:
    """The lines around the cause, where what vLLM said last only points at them; none where it does not.

    It is what a remedy is known for, or the last exception of a process that vLLM started.
    """
    if not POINTERS.search(printed):
        return []
    own = [found for found in OF_ITS_PROCESSES.finditer(printed) if not POINTERS.search(found[0])]
    told = known(printed, FAILURES)
    if not told and not own:
        return []
    at = printed.count("\n", 0, told[0] if told else own[-1].end())
    lines = printed.split("\n")
    # Processes print at the same time: its own lines have one beginning, up to the place in the source.
    begins = re.match(r"\(.*?\] |", lines[at])
    near = lines[max(0, at - AROUND) : at + AROUND + 1]
    return [line[:WIDTH] for line in near if begins and line.startswith(begins[0])]


def _setting(name: re.Match[str], *, served: bool) -> str:
    if name[1] in PLACES:
        return PLACES[name[1]][served]
    if served:
        return f"--{name[1].replace('_', '-')}"
    own = "" if name[1] in KEYS else "args."
    return f"eval.vllm.{own}{name[0][1:]}"
