"""TOK004 bos-missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from modelcheck.check import check
from modelcheck.facts.config import Config
from modelcheck.facts.conversations import Rendering
from modelcheck.facts.files import JsonObject
from modelcheck.facts.special_tokens import SpecialTokens
from modelcheck.facts.tokenizer import Tokenizer
from modelcheck.finding import Finding, Severity

# Architectures share names: only these BOS tokens say that the model was trained as Llama and Mistral were.
PLAIN_BOS = {"llama": ("<s>", "<|begin_of_text|>"), "mistral": ("<s>",), "mixtral": ("<s>",)}


@check("TOK004", severity=Severity.ERROR)
def bos_missing(
    config: Config,
    special_tokens: SpecialTokens,
    tokenizer: Tokenizer,
    tokenizer_config: JsonObject | None = None,
    conversations: Mapping[str, Rendering] | None = None,
) -> Iterator[Finding]:
    """The model was trained to begin with BOS, and nothing puts one there.

    Symptoms: answers are garbage, or worse than they should be

    Why: Gemma without its BOS is a different, broken model: its perplexity rises from 3.5 to 5,900,000,000. Llama and
    Mistral merely get worse. Training without the BOS that serving adds (or the reverse) shifts every prompt.

    Common causes:
        - A tokenizer saved or converted without its post-processor. Solution: take tokenizer.json from the base model.
        - `add_bos_token` was thought to be enough: with a tokenizer.json, transformers 5 ignores it. Solution: give
          tokenizer.json a TemplateProcessing post-processor that adds the token.

    Bad:
        ```json config.json
        {"model_type": "gemma", "architectures": ["GemmaForCausalLM"]}
        ```
        ```json tokenizer_config.json
        {"bos_token": "<|bos|>"}
        ```
    Good:
        ```json config.json
        {"model_type": "gemma", "architectures": ["GemmaForCausalLM"]}
        ```
        ```json tokenizer_config.json
        {"bos_token": "<|bos|>"}
        ```
        ```json tokenizer.json
        {"post_processor": {"type": "TemplateProcessing",
         "single": [{"SpecialToken": {"id": "<|bos|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
         "pair": [{"SpecialToken": {"id": "<|bos|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                  {"Sequence": {"id": "B", "type_id": 1}}],
         "special_tokens": {"<|bos|>": {"id": "<|bos|>", "ids": [1], "tokens": ["<|bos|>"]}}}}
        ```

    Traps: Qwen, Phi-3, GPT-NeoX and GLM have no BOS by design. A template that writes the BOS itself is enough. Many
    models borrow Llama's architecture and not its BOS, so there only `<s>` and `<|begin_of_text|>` count, and an
    explicit `add_bos_token: false` is believed.

    Fix safety: safe for Gemma, which is noise without it: tokenizer.json gets a TemplateProcessing post-processor,
    which is what transformers goes by, and an `add_bos_token` of false becomes true for llama.cpp's converter. A chat
    template that writes no BOS is left alone. For other families nobody can tell from the files, so nothing is mended.

    Sources: lm-eval PR #1465 (perplexity 5.9e9 against 3.46); transformers 5.23 drops `add_bos_token` where
    tokenizer.json exists (tokenization_utils_base.py).
    """
    bos = special_tokens.by_role.get("bos_token")
    family = str(config.where("model_type")[1])
    if bos is None or tokenizer.id(bos.content) in tokenizer.prefix:
        return
    prompts = [rendering.text("prompt") or "" for rendering in (conversations or {}).values()]
    if any(prompt.startswith(bos.content) for prompt in prompts):
        return
    if family.startswith("gemma"):
        severity = Severity.ERROR
    elif bos.content in PLAIN_BOS.get(family, ()) and (tokenizer_config or {}).get("add_bos_token") is not False:
        severity = Severity.WARNING
    else:
        return
    message = (
        f"encoding a text adds no {bos.content!r} and the chat template writes none, expected one of them to, as "
        f"{family} was trained with it: answers degrade, with Gemma to noise"
    )
    yield Finding(message, "tokenizer.json", "/post_processor", severity)
