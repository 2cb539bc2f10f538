"""CFG007 rope-v5-only."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.facts.config import Config
from modelcheck.facts.files import shorten
from modelcheck.facts.rope import Rope
from modelcheck.finding import Finding, Severity
from modelcheck.target import Targets

# What transformers 4.57 takes where config.json has no rope_theta (its configuration_*.py); 10000 for all others.
THETAS = {
    "apertus": 12e6,
    **dict.fromkeys(
        ("bitnet", "csm", "ernie4_5", "ernie4_5_moe", "flex_olmo", "llama4_text", "mllama_text_model"), 5e5
    ),
    **dict.fromkeys(("gemma3_text", "gemma3n_text", "lfm2", "minimax", "mixtral", "phimoe"), 1e6),
    **dict.fromkeys(("qwen2_vl_text", "qwen2_5_vl_text", "qwen2_5_omni_text", "qwen3_omni_moe_text"), 1e6),
    **dict.fromkeys(("qwen3_vl_text", "qwen3_vl_moe_text"), 5e6),
    **dict.fromkeys(("falcon_h1", "helium"), 1e5),
    **dict.fromkeys(("fuyu", "persimmon"), 25e3),
    **dict.fromkeys(("modernbert", "modernbert-decoder"), 16e4),
    "gpt_oss": 15e4,
    "longcat_flash": 1e7,
    "mistral3": 1e9,
    "smollm3": 2e6,
}
USUAL = 1e4


@check("CFG007", severity=Severity.ERROR)
def rope_v5_only(config: Config, ropes: tuple[Rope, ...], target: Targets) -> Iterator[Finding]:
    """RoPE is described as transformers 5 writes it, and transformers 4 would read a default in its place.

    Symptoms: answers are garbage, or worse than they should be

    Why: transformers 5 keeps theta and scaling in `rope_parameters`, transformers 4 and what is built on it look for
    `rope_theta` and `rope_scaling`. Not finding them they take the default theta, 10000 for most families, without a
    word. A Llama 3.1 read so was worse by 0.77 nats a token, and more the longer the text.

    Common causes:
        - Saved by transformers 5, read by transformers 4, vLLM before 0.24, DeepSpeed or another engine. Solution:
          write `rope_theta`, and `rope_scaling` where the type is not default, beside `rope_parameters`.

    Bad:
        ```json config.json
        {"rope_theta": null, "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}}
        ```
    Good:
        ```json config.json
        {"rope_theta": 500000.0, "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}}
        ```

    Traps: where theta is the default anyway nothing is lost. Both shapes beside each other are the remedy. A theta for
    each kind of layer is legal. Nobody who uses transformers 5 is hurt: an error where an older reader is named with
    `--target`, information where nobody is, and silent for the others.

    Fix safety: safe, both shapes say the same numbers; the next save by transformers 5 drops the old one again.

    Sources: MarinFold PR #184; vllm PR #42624, vllm PR #44158; DeepSpeed PR #8345; transformers' migration guide to v5.
    """
    if config.text_where("rope_theta")[1] is not None or config.text_where("rope_scaling")[1] is not None:
        return
    if target.may_be("transformers", below=(5,)) or target.may_be("vllm", below=(0, 24)):
        severity = Severity.ERROR
    elif not target:
        severity = Severity.INFO
    else:
        return
    for rope in ropes:
        lost = list(_lost(config, rope)) if rope.key == "rope_parameters" else []
        if lost:
            yield Finding(
                f"{' and '.join(lost)} only in rope_parameters, expected beside it as rope_theta and rope_scaling too: "
                "transformers 4 and engines built on it read their defaults instead, and every position is wrong",
                config.file,
                rope.at,
                severity,
            )


def _lost(config: Config, rope: Rope) -> Iterator[str]:
    families = [str(part.get("model_type")) for part in (config.text, config.root)]
    default = next((THETAS[family] for family in families if family in THETAS), USUAL)
    theta = rope.values.get("rope_theta")
    # Families with an embedding for each kind of layer have a second default for those of the sliding window.
    if theta is not None and theta != (USUAL if rope.at.endswith("/sliding_attention") else default):
        yield f"theta {shorten(theta)} stands"
    if rope.type != "default":
        yield f"the scaling {shorten(rope.type)} stands"
