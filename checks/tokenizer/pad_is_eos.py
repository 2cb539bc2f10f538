"""TOK001 pad-is-eos."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.facts.config import Config, token_ids
from modelcheck.facts.special_tokens import SpecialTokens
from modelcheck.finding import Finding, Severity

CONSEQUENCE = (
    "transformers' DataCollatorForLanguageModeling(mlm=False) and every collator that masks labels equal to the pad id "
    "erase each EOS from the loss, so the tuned model does not stop; TRL's own collator, which pads labels with -100, "
    "is safe"
)


@check("TOK001", severity=Severity.ERROR)
def pad_is_eos(special_tokens: SpecialTokens, is_chat: bool, config: Config | None = None) -> Iterator[Finding]:
    """The pad token is the EOS token, so the model may never learn to stop.

    Symptoms: the model does not stop, or stops in the wrong place

    Why: collators that hide padding from the loss do it by comparing labels with the pad id. If that id is also the
    EOS, every EOS label is hidden, the model is never taught to end a turn, and it writes on until the length limit.
    The loss curve looks perfect.

    Common causes:
        - `tokenizer.pad_token = tokenizer.eos_token`, copied from a tutorial. Solution: use a reserved token that
          nothing emits, such as `<|finetune_right_pad_id|>`.
        - A trainer filled the gap by itself: TRL, axolotl and LLaMA-Factory all fall back to EOS. Solution: set the
          pad token before training.

    Bad:
        ```json tokenizer_config.json
        {"pad_token": "<|im_end|>"}
        ```
    Good:
        ```json tokenizer_config.json
        {"pad_token": "<|reserved_0|>"}
        ```

    Traps: pad may be a *secondary* stop id (Qwen2.5 pads with a token that also ends generation): only the tokenizer's
    own EOS counts. A base model that has one all-purpose token (GPT-2, Pythia) is a warning. Inference alone is not
    hurt, so a pad id in generation_config.json is left alone.

    Fix safety: safe where a token is reserved for padding, by its name or by its family, or where a reserved token that
    nothing emits has a row that was never trained: `pad_token` and `pad_token_id` then name it, no weight is touched.
    Otherwise unsafe: `--unsafe` adds a new token, in a spare row of the embedding or in one more, the mean of the
    others.

    Sources: trl#976, trl#734, unsloth#416; 15 of 48 user checkpoints had it.
    """
    pad, eos = special_tokens.by_role.get("pad_token"), special_tokens.by_role.get("eos_token")
    if pad and eos and pad.content == eos.content:
        message = f"pad_token and eos_token are both {pad.content!r}, expected two tokens: {CONSEQUENCE}"
        yield Finding(message, pad.file, pad.at, Severity.ERROR if is_chat else Severity.WARNING)
    elif not pad and config and (pad_id := config.integer("pad_token_id")) is not None:
        if pad_id in token_ids(config.file, {"eos_token_id": config.where("eos_token_id")[1]}, "eos_token_id")[:1]:
            message = (
                f"pad_token_id and eos_token_id are both {pad_id} and no tokenizer file names a pad token, "
                f"expected two ids: {CONSEQUENCE}"
            )
            yield Finding(message, config.file, config.where("pad_token_id")[0], Severity.WARNING)
