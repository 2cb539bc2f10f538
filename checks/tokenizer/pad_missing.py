"""TOK002 pad-missing."""

from __future__ import annotations

import re
from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.facts.config import Config
from modelcheck.facts.files import JsonObject
from modelcheck.facts.special_tokens import SpecialTokens
from modelcheck.facts.vocabulary import Vocabulary
from modelcheck.finding import Finding, Severity

# In this order: a token made for padding, then one that nothing uses.
CANDIDATES = (re.compile(r"\bpad|_pad", re.IGNORECASE), re.compile(r"reserved|unused|placeholder", re.IGNORECASE))


@check("TOK002", severity=Severity.WARNING)
def pad_missing(
    tokenizer_config: JsonObject,
    special_tokens: SpecialTokens,
    is_chat: bool,
    config: Config | None = None,
    generation_config: JsonObject | None = None,
    vocabulary: Vocabulary | None = None,
) -> Iterator[Finding]:
    """No file names a pad token, so a trainer will choose one, and most choose EOS.

    Symptoms: the model does not stop, or stops in the wrong place; loading or serving fails

    Why: batches need padding. Without a pad token batching raises, or the trainer fills the gap by itself: TRL, axolotl
    and LLaMA-Factory all take EOS, which is the fault that `pad-is-eos` describes.

    Common causes:
        - The model was published without one (Llama 3 and 3.1, Mistral 7B, GPT-2). Solution: name a token that nothing
          emits; Llama 3.1 has `<|finetune_right_pad_id|>` for it.
        - The tokenizer was saved before the pad token was set. Solution: set it, then save again.

    Bad:
        ```json tokenizer_config.json
        {"pad_token": null}
        ```
        ```json config.json
        {"pad_token_id": null}
        ```
        ```json generation_config.json
        {"pad_token_id": null}
        ```
    Good:
        ```json tokenizer_config.json
        {"pad_token": "<|pad|>"}
        ```

    Traps: id 0 is a legal pad (Gemma). A pad id in one of the configs is enough: transformers aligns the others when it
    trains. A base model that is only run needs none, so there it is information.

    Fix safety: as for `pad-is-eos`: safe with a token that is reserved for padding or was never trained, unsafe with a
    new one.

    Sources: TRL PR #7097 counted 8 of 53 popular models without any pad token.
    """
    fields = [special_tokens.content("pad_token"), (generation_config or {}).get("pad_token_id")]
    if config:
        fields += [config.where("pad_token_id")[1], config.text.get("pad_token_id")]
    if any(field is not None for field in fields):
        return
    expected = _candidate(vocabulary)
    message = (
        f"no pad token is named in tokenizer_config.json, config.json or generation_config.json, expected {expected}: "
        "batching raises, or the trainer pads with EOS and the tuned model does not stop"
    )
    severity = Severity.WARNING if is_chat else Severity.INFO
    yield Finding(message, "tokenizer_config.json", "/pad_token", severity)


def _candidate(vocabulary: Vocabulary | None) -> str:
    for pattern in CANDIDATES:
        for content, number in (vocabulary.added if vocabulary else {}).items():
            if pattern.search(content):
                return f"one such as {content!r} (id {number})"
    return "a token that nothing emits"
