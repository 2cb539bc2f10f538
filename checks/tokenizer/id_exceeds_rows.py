"""TOK007 id-exceeds-rows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from modelcheck.check import check
from modelcheck.facts.files import some
from modelcheck.facts.rows import Rows
from modelcheck.facts.special_tokens import SpecialTokens
from modelcheck.facts.tokenizer import Tokenizer
from modelcheck.finding import Finding, Severity

# What a processor puts where an image or a sound belongs; no text holds it.
PLACEHOLDER = re.compile(r"image|img|video|vision|audio|speech|sound|soft_token", re.IGNORECASE)


@check("TOK007", severity=Severity.ERROR)
def id_exceeds_rows(
    tokenizer: Tokenizer,
    rows: Rows,
    special_tokens: SpecialTokens,
    emitted: Mapping[int, tuple[str, ...]] | None = None,
) -> Iterator[Finding]:
    """The tokenizer has ids for which the embedding has no row.

    Symptoms: loading or serving fails; answers are garbage, or worse than they should be

    Why: the first text that holds such a token crashes with an index error or a device-side assert. vLLM does not even
    crash: it pads the embedding, reads an empty row and writes garbage.

    Common causes:
        - Tokens were added to the tokenizer and `resize_token_embeddings` was not called, or its result not saved.
          Solution: resize, train the new rows, save both; or remove the tokens.
        - The tokenizer of another model was copied over. Solution: take it from the base model.

    Bad:
        ```json config.json
        {"vocab_size": 318}
        ```
        ```json tensors.json
        {"model.embed_tokens.weight": ["BF16", [318, 64], "normal"], "lm_head.weight": ["BF16", [318, 64], "normal"]}
        ```
    Good:
        ```json config.json
        {"vocab_size": 320}
        ```

    Traps: Gemma 3's text models ship an image token just beyond their rows, which no text can hold: a placeholder of
    images or sounds that no template writes is information. The pad token is the business of `pad-out-of-range`.

    Fix safety: unsafe, rows have to be added or a token removed.

    Sources: llama.cpp#6111, llama.cpp#3442, CTranslate2#1415, transformers#24698; measured with vLLM 0.32: no error.
    """
    pad = special_tokens.content("pad_token")
    roles = {token.content for role, token in special_tokens.by_role.items() if role != "pad_token"}
    reachable: list[str] = []
    idle: list[str] = []
    for number, token in tokenizer.beyond(rows.number).items():
        used = number in (emitted or {}) or token in roles
        if token != pad or used:
            (reachable if used or not PLACEHOLDER.search(token) else idle).append(f"{token} (id {number})")
    expected = f"expected every id below {rows.number} ({rows.said_by})"
    if reachable:
        consequence = "a text that holds one crashes, in vLLM it reads an empty row instead"
        yield Finding(f"{_listed(reachable)}, {expected}: {consequence}", "tokenizer.json", "/added_tokens")
    if idle:
        consequence = "harmless as long as no text holds it, refused by converters that count ids"
        yield Finding(f"{_listed(idle)}, {expected}: {consequence}", "tokenizer.json", "/added_tokens", Severity.INFO)


def _listed(tokens: list[str]) -> str:
    count = "1 token has an id" if len(tokens) == 1 else f"{len(tokens)} tokens have ids"
    return f"{count} without a row: {some(tokens)}"
