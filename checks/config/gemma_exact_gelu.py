"""CFG004 gemma-exact-gelu."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.facts.config import Config
from modelcheck.finding import Finding, Severity
from modelcheck.target import Targets

TANH = "gelu_pytorch_tanh"


@check("CFG004", severity=Severity.WARNING)
def gemma_exact_gelu(config: Config, target: Targets) -> Iterator[Finding]:
    """A Gemma config asks for the exact GELU, the model was trained with its tanh approximation.

    Symptoms: answers are garbage, or worse than they should be

    Why: the first Gemma was published with `hidden_act: gelu` although it was trained with the approximation. Every
    layer is then slightly off, which no test of a loader notices. transformers and vLLM put it right by themselves;
    runtimes that believe the file do not.

    Common causes:
        - The config was copied from the first upload of Gemma. Solution: set `hidden_act` and `hidden_activation` to
          `gelu_pytorch_tanh`.

    Bad:
        ```json config.json
        {"model_type": "gemma", "architectures": ["GemmaForCausalLM"], "hidden_act": "gelu"}
        ```
        ```json tokenizer_config.json
        {"bos_token": null}
        ```
    Good:
        ```json config.json
        {"model_type": "gemma", "architectures": ["GemmaForCausalLM"], "hidden_act": "gelu",
         "hidden_activation": "gelu_pytorch_tanh"}
        ```

    Traps: `hidden_activation` outranks `hidden_act`. Only the first Gemma is meant; later ones name the approximation.
    transformers 5 and vLLM correct it: information, and a warning where transformers 4 is named.

    Fix safety: safe, it is what the model was trained with.

    Sources: unsloth.ai/blog/gemma-bugs; mlc-llm PR #2106; Megatron-Bridge PR #4661; transformers 5.23
    (configuration_gemma.py).
    """
    if config.where("model_type")[1] != "gemma":
        return
    key = "hidden_activation" if config.root.get("hidden_activation") is not None else "hidden_act"
    if config.root.get(key) != "gelu":
        return
    message = (
        f"{key} is 'gelu', expected {TANH!r}, which Gemma was trained with: runtimes that believe it compute every "
        "layer slightly wrong"
    )
    bites = target.may_be("transformers", below=(5,)) or target.includes("llama.cpp", "ollama", "tgi")
    yield Finding(message, config.file, f"/{key}", Severity.WARNING if bites else Severity.INFO)
