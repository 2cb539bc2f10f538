"""SRV001 vllm-architecture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from modelcheck.check import check
from modelcheck.facts.architecture import Architecture
from modelcheck.facts.config import Config
from modelcheck.facts.files import shorten, some
from modelcheck.facts.tensors import Shard
from modelcheck.facts.vllm_registry import Registry, Support
from modelcheck.facts.weight_index import WeightIndex
from modelcheck.finding import Finding, Severity
from modelcheck.target import Targets

PLACE = ("config.json", "/architectures")
LANGUAGE_PREFIXES = ("language_model.", "model.language_model.")
TOWERS = ("vision", "visual", "image", "audio", "speech", "multi_modal", "mm_", "multimodal", "patch_embed")


@check("SRV001", severity=Severity.ERROR)
def vllm_architecture(
    config: Config,
    architecture: Architecture,
    vllm_registry: Registry,
    target: Targets,
    shards: Mapping[str, Shard],
    weight_index: WeightIndex | None = None,
) -> Iterator[Finding]:
    """The class in config.json is not one that vLLM can run this checkpoint with.

    Symptoms: loading or serving fails

    Why: vLLM chooses its code by `architectures`. A class that it does not know is an error at start, after the machine
    has been rented; the class of another family is worse: it loads, fills what it does not find with whatever the
    memory held, and answers with garbage.

    Common causes:
        - The model was saved while it was wrapped for training (PEFT, Unsloth, FSDP). Solution: name the class of the
          base model.
        - A script wrote the config of another model. Solution: take `architectures` and `model_type` from the base.
        - The multimodal model was trained as a text model, or the reverse. Solution: save with the class whose tensor
          names the weights have.

    Bad:
        ```json config.json
        {"architectures": ["Qwen2ForCausalLM"]}
        ```
        ```text target
        vllm
        ```
    Good:
        ```json config.json
        {"architectures": ["LlamaForCausalLM"]}
        ```
        ```text target
        vllm
        ```

    Traps: what vLLM has no code for it runs through transformers, if the class there allows it. A class that comes with
    the checkpoint (`auto_map`) may be made for vLLM: a warning. A text model beside its multimodal sibling
    (`gemma3_text` and `gemma3`) is one family. transformers chooses by `model_type` and is not hurt, so these are
    errors where vLLM is named; a class left by a wrapper is never right.

    Fix safety: safe where the model type has one class for generating text.

    Sources: vLLM's registry.py, read for four versions; measured with vLLM 0.32: a foreign class loads and yields NaN;
    vllm#15031, unsloth#2274.
    """
    names = architecture.names
    if wrapper := architecture.wrapper:
        yield _finding(
            f"architectures is {shorten(list(names))}, a class that exists only while {wrapper} wraps the model, "
            f"{_expected(architecture)}: vLLM does not support it and refuses the model",
            Severity.ERROR,
        )
        return
    if not names:
        known = architecture.expected and vllm_registry.support(architecture.expected) is not Support.UNKNOWN
        if known and (severity := _when(target, Severity.WARNING, Severity.INFO)):
            yield _finding(
                f"architectures is {'empty' if 'architectures' in config.root else 'missing'}, "
                f"{_expected(architecture)}: vLLM and TGI choose their code by it and have to guess",
                severity,
            )
        return
    if owner := architecture.owner:
        if severity := _when(target, Severity.ERROR, Severity.WARNING):
            yield _finding(
                f"architectures is {shorten(list(names))}, which belongs to model type {owner!r}, not to "
                f"{architecture.model_type!r}, {_expected(architecture)}: vLLM loads it without an error, leaves "
                "uninitialised what it does not find, and writes garbage",
                severity,
            )
        return
    yield from _unsupported(architecture, vllm_registry, target)
    stored = {name for shard in shards.values() for name in shard.tensors} | {
        *(weight_index.shards if weight_index else ())
    }
    yield from _other_modality(config, architecture, vllm_registry, target, stored)


def _unsupported(architecture: Architecture, registry: Registry, target: Targets) -> Iterator[Finding]:
    names, shown = architecture.names, shorten(list(architecture.names))
    by_name = {name: registry.support(name) for name in names}
    if {Support.NATIVE, Support.TRANSFORMERS} & {*by_name.values()}:
        return
    severity = _when(target, Severity.ERROR, Severity.INFO if architecture.generates else None)
    if severity is None:
        return
    name, support = next(((n, s) for n, s in by_name.items() if s is not Support.UNKNOWN), (names[0], Support.UNKNOWN))
    if support is Support.DROPPED:
        last, rescued = registry.dropped[name], name in registry.backend
        rescue = ", unless its Transformers backend can run it" if rescued else ""
        yield _finding(
            f"architectures is {shown}, which vLLM supported until {last} and {registry.asked} no longer does, "
            f"expected a class that it has: serve it with vLLM {last} or another engine{rescue}",
            min(severity, Severity.WARNING) if rescued else severity,
        )
    elif support is Support.OUT_OF_TREE:
        yield _finding(
            f"architectures is {shown}, which {registry.asked} has no longer in its tree, expected the plugin "
            f"{registry.out_of_tree[name]} to be installed: vLLM refuses the model without it",
            severity,
        )
    elif architecture.auto_map:
        yield _finding(
            f"architectures is {shown}, which {registry.asked} does not know, expected a class of its registry: "
            "it can run only through the code that the checkpoint brings, if that is made for vLLM",
            min(severity, Severity.WARNING),
        )
    else:
        yield _finding(
            f"architectures is {shown}, which {registry.asked} does not know and transformers cannot run for it, "
            f'{_expected(architecture)}: vLLM refuses the model ("Model architectures ... are not supported for now")',
            severity,
        )


def _other_modality(
    config: Config, architecture: Architecture, registry: Registry, target: Targets, stored: set[str]
) -> Iterator[Finding]:
    severity = _when(target, Severity.ERROR, Severity.WARNING)
    if severity is None or not stored:
        return
    name = architecture.names[0]
    nested = sorted(n for n in stored if n.startswith(LANGUAGE_PREFIXES) or "vision_tower." in n)
    if name.endswith("ForCausalLM") and name not in registry.multimodal and nested:
        yield _finding(
            f"architectures is {shorten([name])}, a text model, but tensors are called {some(nested, 1)}, expected the "
            "multimodal class, or tensors without that prefix: vLLM finds no module of those names",
            severity,
        )
    has_tower = any(part in n for n in stored for part in TOWERS)
    towers = [k for k in ("vision_config", "audio_config") if isinstance(config.root.get(k), dict)]
    if name.endswith("ForConditionalGeneration") and name in registry.multimodal and towers and not has_tower:
        yield _finding(
            f"architectures is {shorten([name])} and config.json has a {towers[0]}, but no tensor is of such a tower, "
            "expected the text class of the family, or all tensors: the tower is left uninitialised",
            severity,
        )


def _expected(architecture: Architecture) -> str:
    own = architecture.expected
    return (
        f"expected {[own]}, the class of model type {architecture.model_type!r}"
        if own
        else "expected a class of transformers"
    )


def _when(target: Targets, named: Severity, unnamed: Severity | None = Severity.WARNING) -> Severity | None:
    return target.severity("vllm", named=named, unnamed=unnamed)


def _finding(message: str, severity: Severity) -> Finding:
    return Finding(message, *PLACE, severity)
