"""ADP001 lora-target-misses."""

from __future__ import annotations

import re
from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.facts.adapter_config import Lora
from modelcheck.facts.base_modules import EXPERT, STACKED, BaseModules, linear_names
from modelcheck.facts.files import some
from modelcheck.facts.fused import stored_otherwise
from modelcheck.facts.lora_targets import HALF, INTERNAL, LoraTargets
from modelcheck.finding import Confidence, Finding, Severity

AT = "/target_modules"
EXPERTS = {*STACKED, *STACKED.values()}
LAYER = re.compile(r"\.(\d+)\.")


@check("ADP001", severity=Severity.ERROR)
def lora_target_misses(lora: Lora, lora_targets: LoraTargets, base_modules: BaseModules) -> Iterator[Finding]:
    """The LoRA configuration names modules that the base model does not have.

    Symptoms: training runs, and part of the model does not learn

    Why: PEFT raises only if nothing at all matches. One name that fits is enough for the others to be dropped without
    a word, and the layers they meant are never trained. The loss still falls.

    Common causes:
        - The list was copied from a recipe for another family. Solution: name the modules that the base has.
        - The architecture was ported and its modules renamed (Phi's `Wqkv`, `out_proj`). Solution: use the new names.
        - An expression is matched against the whole name, so a bare `q_proj` fits nothing. Solution: a list, or `.*`
          before it.

    Bad:
        ```json adapter_config.json
        {"peft_type": "LORA", "r": 8, "target_modules": ["query", "value"]}
        ```
    Good:
        ```json adapter_config.json
        {"peft_type": "LORA", "r": 8, "target_modules": ["q_proj", "v_proj"]}
        ```

    Traps: a list that serves several architectures is deliberate where one name of it fits: a warning. Names that
    exist only inside PEFT are habitual and harmless: information. A target that excluded or saved modules take away
    did match. Names in memory may have prefixes that those in the files have not.

    Sources: peft's inject_adapter; the Phi-3 adapters of kaito-project/kaito.
    """
    elsewhere = stored_otherwise(lora, lora_targets, base_modules)
    refused = lora_targets.refused
    if refused and not elsewhere and HALF not in refused:
        message = f"target_modules is {_shown(lora)}: {refused}, expected modules of the base: PEFT raises an error"
        yield Finding(message, lora.file, AT, confidence=_confidence(lora, base_modules))
    experts = {match["name"] for name in base_modules.on_disk if (match := EXPERT.fullmatch(name))}
    if base_modules.stacked:  # the rule lora-moe-experts-missed
        experts |= EXPERTS
    missed = [e for e in lora.listed if not lora_targets.hits[e] and e not in elsewhere and e not in experts]
    internal = [entry for entry in missed if INTERNAL.fullmatch(entry)]
    if internal:
        message = f"target_modules lists {some(internal)}, which exists only inside PEFT: it matches nothing, expected"
        yield Finding(f"{message} only names of the base's modules; harmless", lora.file, AT, Severity.INFO)
    missed = [entry for entry in missed if entry not in internal]
    if missed and not refused:
        message = (
            f"target_modules lists {some(missed)}, which match{'es' * (len(missed) == 1)} no module of the base, "
            f"expected names that it has ({linear_names(base_modules)}): they are dropped without a word, and what "
            "they meant is not trained"
        )
        yield Finding(message, lora.file, AT, Severity.WARNING, _confidence(lora, base_modules))
    if not refused:
        yield from _other_misses(lora, lora_targets, base_modules)


def _other_misses(lora: Lora, targets: LoraTargets, base: BaseModules) -> Iterator[Finding]:
    lost = [entry for entry, found in targets.parameter_hits.items() if not found]
    if lost:
        message = f"target_parameters lists {some(lost)}, which no parameter of the base is called, expected names that"
        yield Finding(
            f"{message} it has: nothing is trained for them", lora.file, "/target_parameters", Severity.WARNING
        )
    if targets.passed_over:
        message = (
            f"target_modules means {some(targets.passed_over)} too, but PEFT turns names that experts have into "
            f"parameters of the experts, expected target_parameters for these layers, such as "
            f"'{targets.passed_over[0]}.weight': they are not trained"
        )
        yield Finding(message, lora.file, AT, Severity.WARNING)
    if targets.idle_ranks and isinstance(lora.targets, tuple):
        message = f"rank_pattern has {some(targets.idle_ranks)}, which fit no targeted module, expected keys that do"
        yield Finding(f"{message}: those ranks are ignored", lora.file, "/rank_pattern", Severity.WARNING)
    layers = {int(match[1]) for name in base.layers if (match := LAYER.search(name))}
    beyond = [str(index) for index in lora.layers if layers and index > max(layers)]
    if beyond:
        message = f"layers_to_transform has {', '.join(beyond)}, but the base's last layer is {max(layers)}, expected"
        yield Finding(
            f"{message} layers that exist: these are ignored", lora.file, "/layers_to_transform", Severity.WARNING
        )


def _shown(lora: Lora) -> str:
    return repr(lora.targets) if isinstance(lora.targets, str) else f"[{some(lora.listed)}]"


def _confidence(lora: Lora, base: BaseModules) -> Confidence:
    exact = isinstance(lora.targets, str) or any("." in entry for entry in lora.listed)
    return Confidence.LOW if base.nested and exact and not lora.all_linear else Confidence.HIGH
