"""SRV006 vllm-processor-missing."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.facts.architecture import Architecture
from modelcheck.facts.config import Config
from modelcheck.facts.files import Files
from modelcheck.facts.vllm_registry import Registry
from modelcheck.finding import Finding, Severity
from modelcheck.target import Targets

PROCESSORS = ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")
# Mistral's own format brings its processor in these.
OTHERWISE = ("params.json", "tekken.json")
WHOLE = ("model.safetensors", "model.safetensors.index.json", "tokenizer.json", "tokenizer.model", "vocab.json")
TOWERS = ("vision_config", "audio_config", "vision_tower", "mm_vision_tower", "thinker_config")


@check("SRV006", severity=Severity.ERROR)
def vllm_processor_missing(
    files: Files, config: Config, architecture: Architecture, vllm_registry: Registry, target: Targets
) -> Iterator[Finding]:
    """A multimodal model without the files of its processor.

    Symptoms: loading or serving fails

    Why: vLLM builds the processor for images or sounds at start, also where only text will be asked, and stops with
    "Can't load image processor". transformers' AutoProcessor stops likewise.

    Common causes:
        - The trainer saved model and tokenizer but not the processor. Solution: copy preprocessor_config.json and
          processor_config.json from the base model, or call `processor.save_pretrained`.

    Bad:
        ```json config.json
        {"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3",
         "vision_config": {"model_type": "siglip_vision_model"}}
        ```
        ```json tensors.json
        {"vision_tower.weight": ["BF16", [4, 4], "normal"]}
        ```
    Good:
        ```json config.json
        {"architectures": ["LlamaForCausalLM"]}
        ```

    Traps: a text model of the family needs none. A folder with nothing but a config is not judged. Mistral's own format
    brings the processor in params.json and tekken.json. An error where vLLM is named, a warning where nobody is;
    `language_model_only` in vLLM gets by without.

    Fix safety: safe, files are copied from the base model.

    Sources: vllm#18983, llm-compressor#1305, EasyR1#48, LLaMA-Factory#8254; measured with vLLM 0.32.
    """
    severity = target.severity("vllm", unnamed=Severity.WARNING)
    multimodal = any(name in vllm_registry.multimodal for name in architecture.names)
    if severity is None or not multimodal or not any(config.root.get(key) for key in TOWERS):
        return
    if any(name in files for name in (*PROCESSORS, *OTHERWISE)) or not any(name in files for name in WHOLE):
        return
    yield Finding(
        f"{architecture.names[0]} is a multimodal model and there is neither {PROCESSORS[0]} nor {PROCESSORS[1]}, "
        'expected one of them: vLLM stops with "Can\'t load image processor", also for text alone',
        "config.json",
        "/architectures",
        severity,
    )
