"""SRV002 vllm-rope."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from modelcheck.check import check
from modelcheck.facts.config import Config
from modelcheck.facts.files import shorten
from modelcheck.facts.rope import LEGACY_NAMES, Rope
from modelcheck.finding import Finding, Severity
from modelcheck.target import Targets

# vLLM 0.33 (rotary_embedding/__init__.py, `get_rope`); `telechat3-yarn` is renamed before it.
TYPES = frozenset({
    "default", "linear", "ntk", "dynamic", "yarn", "longrope", "llama3", "mllama4", "proportional", "bailing_mrope",
    "deepseek_yarn", "deepseek_llama_scaling", "openpangu", "telechat3-yarn", "axial", *LEGACY_NAMES,
})  # fmt: skip
# No head has more dimensions than this.
LARGEST = 1 << 20
# transformers 5 (modeling_rope_utils.py), which vLLM asks; what a config may leave out is filled in before.
REQUIRED = {
    "linear": ("factor",),
    "yarn": ("factor",),
    "longrope": ("short_factor", "long_factor"),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor"),
}


@check("SRV002", severity=Severity.ERROR)
def vllm_rope(config: Config, ropes: tuple[Rope, ...], target: Targets) -> Iterator[Finding]:
    """The RoPE parameters are such that vLLM, or transformers 5, cannot build the embedding.

    Symptoms: loading or serving fails; answers are garbage, or worse than they should be

    Why: a missing key or an unknown type is an exception at start. Factors of the wrong length are only a warning in
    the log, and then the positions of every long text are wrong.

    Common causes:
        - Context was extended by hand, and a key is missing. Solution: write all keys of the type.
        - A trainer saved the config without `partial_rotary_factor`. Solution: write it as in the base model.

    Bad:
        ```json config.json
        {"rope_parameters": {"rope_type": "yarn", "rope_theta": 10000.0}}
        ```
    Good:
        ```json config.json
        {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 10000.0}}
        ```

    Traps: `original_max_position_embeddings` and `rope_theta` are filled in from elsewhere. `su` and `mrope` are old
    names. The factors of longrope have half the length of the *rotated* part of a head: head_dim times
    `partial_rotary_factor`, which may stand inside or beside the parameters. A type that transformers does not know is
    for the model's own code to know: an error where vLLM is named, information where nobody is. Two types that
    contradict each other are told by `rope-type-conflict`, and here where vLLM is named.

    Fix safety: none.

    Sources: vLLM 0.33 (transformers_utils/config.py); transformers 5.23 (modeling_rope_utils.py); unsloth#1854;
    keras-hub PR #2272; measured with vLLM 0.32.
    """
    required = target.severity("vllm", "transformers", "trl", named=Severity.ERROR, unnamed=Severity.ERROR)
    if required and target.may_be("transformers", below=(5,)) and "vllm" not in target:
        required = Severity.WARNING
    vllm_only = target.severity("vllm", named=Severity.ERROR, unnamed=Severity.INFO)
    for rope in ropes:
        if "vllm" in target and rope.conflict:
            two = f"type is {shorten(rope.values['type'])} and rope_type is {shorten(rope.values['rope_type'])}"
            message = f'{two}, expected the same: vLLM stops with "Found conflicts between ..."'
            yield Finding(message, config.file, rope.at)
        if (missing := _missing(rope)) and required:
            them = "it" if len(missing) == 1 else "them"
            message = (
                f"rope type {shorten(_kind(rope))} has no {' and no '.join(missing)}, expected {them}: transformers 5 "
                'and vLLM stop with "Missing required keys"'
            )
            yield Finding(message, config.file, rope.at, required)
        if vllm_only and (not isinstance(rope.type, str) or rope.type not in TYPES):
            message = (
                f"rope type is {shorten(rope.type)}, expected one that vLLM knows: it stops with "
                '"Unknown RoPE scaling type" when it loads the weights'
            )
            yield Finding(message, config.file, rope.at, vllm_only)
        if required and _kind(rope) == "longrope":
            yield from _lengths(config, rope)


def _missing(rope: Rope) -> list[str]:
    kind = _kind(rope)
    if kind == "dynamic" and not {"factor", "alpha"} & rope.values.keys():
        return ["factor"]
    if rope.type == "mrope" and "mrope_section" not in rope.values:
        return ["mrope_section"]
    return [key for key in REQUIRED.get(kind, ()) if rope.values.get(key) is None]


def _kind(rope: Rope) -> str:
    return LEGACY_NAMES.get(str(rope.type), str(rope.type))


def _lengths(config: Config, rope: Rope) -> Iterator[Finding]:
    expected = _rotated(config, rope)
    for key in ("short_factor", "long_factor"):
        factors = rope.values.get(key)
        if isinstance(factors, list) and expected is not None and len(factors) != expected:
            yield Finding(
                f"{key} has length {len(factors)}, expected {expected}, half of the rotated part of a head (head_dim "
                "times partial_rotary_factor): vLLM only warns, and the positions are wrong or it crashes",
                config.file,
                f"{rope.at}/{key}",
            )


def _rotated(config: Config, rope: Rope) -> int | None:
    numbers: dict[str, Any] = {
        key: config.text_where(key)[1] for key in ("head_dim", "hidden_size", "num_attention_heads")
    }
    share = rope.values.get("partial_rotary_factor", config.text_where("partial_rotary_factor")[1])
    head, width, heads = numbers.values()
    # Latent attention rotates a part of its own of each head.
    if (latent := config.text_where("qk_rope_head_dim")[1]) is not None:
        head, share = latent, None
    if head is None and type(width) is int and type(heads) is int and heads > 0:
        head = width // heads
    share = 1.0 if share is None else share
    if type(head) is not int or not isinstance(share, (int, float)) or not (0 < share <= 1 and 0 < head < LARGEST):
        return None
    return int(head * share) // 2
