"""ADP003 lora-modules-to-save-misses."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.facts.adapter_config import Lora
from modelcheck.facts.base_modules import BaseModules, linear_names
from modelcheck.facts.files import some
from modelcheck.facts.lora_targets import INTERNAL, LoraTargets
from modelcheck.finding import Confidence, Finding, Severity

# PEFT itself lists both for these tasks, and a model has at most one.
CLASSIFIERS, TASKS = ("classifier", "score"), ("SEQ_CLS", "TOKEN_CLS")


@check("ADP003", severity=Severity.ERROR)
def lora_modules_to_save_misses(lora: Lora, lora_targets: LoraTargets, base_modules: BaseModules) -> Iterator[Finding]:
    """modules_to_save names modules that the base model does not have.

    Symptoms: training runs, and part of the model does not learn

    Why: modules in this list are to be trained whole, usually the embedding and the head for new tokens. PEFT does not
    say a word about a name that fits nothing: the embedding stays frozen and the new tokens stay noise.

    Common causes:
        - `embed_tokens` on a model that calls it `wte`, `embed_in` or `word_embeddings`. Solution: the base's own name.
        - `lm_head` on a model whose head is `embed_out` or `output_layer`. Solution: likewise.

    Bad:
        ```json adapter_config.json
        {"peft_type": "LORA", "r": 8, "target_modules": ["q_proj"], "modules_to_save": ["wte", "lm_head"]}
        ```
    Good:
        ```json adapter_config.json
        {"peft_type": "LORA", "r": 8, "target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]}
        ```

    Traps: a tied head is in no file, but it is a module. For classification PEFT lists both `classifier` and `score`,
    and one of them always misses. Names that exist only inside PEFT (`lora_magnitude_vector`) are information.

    Sources: peft's _set_trainable, whose strict check is off.
    """
    classifies = str(lora.content.get("task_type")).rpartition(".")[2] in TASKS
    missed = [e for e, found in lora_targets.saved_hits.items() if not found and not (classifies and e in CLASSIFIERS)]
    internal = [entry for entry in missed if INTERNAL.fullmatch(entry)]
    if internal:
        message = (
            f"modules_to_save lists {some(internal)}, which exists only inside PEFT: it does nothing, expected only"
        )
        yield Finding(f"{message} names of the base's modules; harmless", lora.file, "/modules_to_save", Severity.INFO)
    for entry in missed:
        if entry not in internal:
            message = f"modules_to_save lists {entry!r}, which no module of the base is called, expected a name that"
            unsure = base_modules.nested and "." in entry
            yield Finding(
                f"{message} it has ({linear_names(base_modules, 'embedding')}, ...): PEFT says nothing and the module "
                "stays frozen",
                lora.file,
                f"/modules_to_save/{lora.saved.index(entry)}",
                confidence=Confidence.LOW if unsure else Confidence.HIGH,
            )
