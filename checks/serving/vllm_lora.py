"""SRV003 vllm-lora."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from modelcheck.check import check
from modelcheck.facts.adapter_config import AdapterConfig
from modelcheck.facts.files import JsonObject, shorten
from modelcheck.finding import Finding, Severity
from modelcheck.target import Targets

# vllm 0.32 and 0.33: lora/peft_helper.py, config/lora.py.
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
DEFAULT_RANK = 16
REQUIRED = ("r", "lora_alpha", "target_modules")
STARTS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
SAVED = ("classifier", "score")
UNSUPPORTED = {
    "use_dora": "DoRA",
    "lora_bias": "a bias in LoRA's B",
    "alora_invocation_tokens": "aLoRA",
    "layer_replication": "layer replication",
    "use_bdlora": "BD-LoRA",
    "use_qalora": "QALoRA",
}


@check("SRV003", severity=Severity.ERROR)
def vllm_lora(adapter_config: AdapterConfig, target: Targets) -> Iterator[Finding]:
    """The adapter cannot be served by vLLM as it is.

    Symptoms: loading or serving fails

    Why: vLLM supports part of what PEFT can train. What it knows to be outside it refuses, when the adapter is loaded,
    long after training; what it does not know it drops without a word, and serves something else.

    Common causes:
        - DoRA, a trained bias, or modules trained whole for new tokens. Solution: merge the adapter and serve the
          merged model; if it must stay an adapter, train without them.
        - A rank above 16, the server's default limit. Solution: start it with `--max-lora-rank`.
        - Experts trained through `target_parameters`. Solution: merge.

    Bad:
        ```json adapter_config.json
        {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"], "use_dora": true}
        ```
    Good:
        ```json adapter_config.json
        {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"], "use_dora": false}
        ```

    Traps: it bites only where the adapter is served unmerged, so without `--target vllm` it is information. Heads named
    `classifier` or `score` may be saved whole. A rank above the default needs a flag only: a warning.

    Sources: vllm 0.32 and 0.33, lora/peft_helper.py; vllm#2847, vllm#6983, vllm#9280, vllm#21500, vllm PR #28382,
    vllm PR #41384.
    """
    for key, problem, severity in _limits(adapter_config):
        message = f"{problem}: an adapter that is served by vLLM must be merged or trained without it"
        if severity is Severity.WARNING:
            message = problem
        bites = severity if "vllm" in target else Severity.INFO
        yield Finding(message, adapter_config.file, f"/{key}" if key else None, bites)


def _limits(adapter: AdapterConfig) -> Iterator[tuple[str, str, Severity]]:
    """(key, what is wrong, how bad) for each limit that the configuration breaks."""
    content, error = adapter.content, Severity.ERROR
    if adapter.peft_type != "LORA":
        yield "peft_type", f"peft_type is {adapter.peft_type!r}, expected 'LORA', the only kind that vLLM serves", error
        return
    for key in REQUIRED:
        if key not in content:
            yield "", f"adapter_config.json has no {key}, expected one, which vLLM requires", error
    for key, name in UNSUPPORTED.items():
        if content.get(key):
            yield key, f"{key} is {shorten(content[key])}, expected none, as vLLM does not support {name}", error
    if content.get("bias", "none") != "none":
        yield "bias", f"bias is {content['bias']!r}, expected 'none', as vLLM refuses an adapter's bias", error
    saved = content.get("modules_to_save") or []
    if any(name not in SAVED for name in (saved if isinstance(saved, list) else [saved])):
        yield (
            "modules_to_save",
            f"modules_to_save is {shorten(saved)}, expected null, as vLLM loads no whole modules",
            error,
        )
    start = content.get("init_lora_weights", True)
    if isinstance(start, str) and start not in STARTS:
        yield "init_lora_weights", f"init_lora_weights is {start!r}, expected true, as vLLM refuses this start", error
    yield from _silent_limits(content)
    yield from _rank_limit(content)


def _silent_limits(content: JsonObject) -> Iterator[tuple[str, str, Severity]]:
    for key, lost in (
        ("trainable_token_indices", "drops the trained rows of the embedding without a word"),
        ("target_parameters", "misreads what was trained on experts in one tensor"),
    ):
        if content.get(key):
            yield key, f"{key} is {shorten(content[key])}, expected null, as vLLM {lost}", Severity.ERROR


def _rank_limit(content: JsonObject) -> Iterator[tuple[str, str, Severity]]:
    pattern: Any = content.get("rank_pattern")
    ranks = [content.get("r"), *(pattern.values() if isinstance(pattern, dict) else ())]
    rank = max((r for r in ranks if type(r) is int), default=0)
    if rank > RANKS[-1]:
        yield (
            "r",
            f"the largest rank is {rank}, expected at most {RANKS[-1]}, the most that vLLM serves",
            Severity.ERROR,
        )
    elif rank > DEFAULT_RANK:
        flag = next(size for size in RANKS if size >= rank)
        message = (
            f"the largest rank is {rank}, expected at most {DEFAULT_RANK}, vLLM's default: the server refuses the "
            f"adapter unless it is started with --max-lora-rank {flag}"
        )
        yield "r", message, Severity.WARNING
