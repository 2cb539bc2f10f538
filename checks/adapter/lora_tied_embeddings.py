"""ADP009 lora-tied-embeddings."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.facts.adapter_config import Lora
from modelcheck.facts.base_modules import HEADS, BaseModules
from modelcheck.facts.config import Config
from modelcheck.facts.embeddings import INPUT
from modelcheck.facts.lora_targets import LoraTargets
from modelcheck.finding import Finding, Severity

TIED = (*HEADS, *(name.removesuffix(".weight") for name in INPUT))


@check("ADP009", severity=Severity.ERROR)
def lora_tied_embeddings(
    lora: Lora, lora_targets: LoraTargets, base_modules: BaseModules, config: Config
) -> Iterator[Finding]:
    """The adapter trains the embedding or the head of a base that ties them, without tying its own copies.

    Symptoms: answers are garbage, or worse than they should be; training runs, and part of the model does not learn

    Why: in a tied model the embedding and the head are one matrix. PEFT trains a copy of what is listed and leaves the
    other as it was, so the two drift apart; merged and saved under `tie_word_embeddings: true`, one of them is thrown
    away or overwrites the other, and the merged model is not the one that was evaluated.

    Common causes:
        - `modules_to_save: [embed_tokens, lm_head]`, right for an untied model, on a tied one. Solution: set
          `ensure_weight_tying` for the training run, or untie the base first.
        - `lm_head` among the target modules. Solution: leave it out.

    Bad:
        ```json config.json
        {"tie_word_embeddings": true}
        ```
        ```json tensors.json
        {"lm_head.weight": null}
        ```
        ```json adapter_config.json
        {"peft_type": "LORA", "r": 8, "target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]}
        ```
    Good:
        ```json config.json
        {"tie_word_embeddings": true}
        ```
        ```json tensors.json
        {"lm_head.weight": null}
        ```
        ```json adapter_config.json
        {"peft_type": "LORA", "r": 8, "target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"],
         "ensure_weight_tying": true}
        ```

    Traps: an untied base is fine. A few rows trained through `trainable_token_indices` are tied by PEFT itself.
    `all-linear` leaves the head out.

    Sources: peft#2777, peft#2018, peft PR #2803 and #2972; unsloth PR #9331 and #9326.
    """
    at, flag = config.where("tie_word_embeddings")
    if not (flag is True or (flag is None and not base_modules.head_stored)) or lora.is_on("ensure_weight_tying"):
        return
    saved = [e for e, names in lora_targets.saved_hits.items() if any(_is_tied(name) for name in names)]
    targeted = sorted({name.rpartition(".")[2] for name in lora_targets.modules if _is_tied(name)})
    said = f"{at} is true" if flag else "the base has no head of its own"
    for key, entries in (("modules_to_save", saved), ("target_modules", targeted)):
        if entries:
            yield Finding(
                f"{key} covers {' and '.join(entries)}, and the base ties embedding and head ({said}), expected "
                "ensure_weight_tying: the trained copies part, and a merge keeps one of them or mixes both",
                lora.file,
                f"/{key}",
            )


def _is_tied(name: str) -> bool:
    return name.rpartition(".")[2] in TIED
