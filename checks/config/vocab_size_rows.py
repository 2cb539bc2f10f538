"""CFG002 vocab-size-rows."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.facts.config import Config
from modelcheck.facts.embeddings import FLOATS, input_embedding
from modelcheck.facts.tensors import Tensors
from modelcheck.finding import Finding, Severity


@check("CFG002", severity=Severity.ERROR)
def vocab_size_rows(config: Config, tensors: Tensors) -> Iterator[Finding]:
    """config.json's vocab_size is not the number of rows of the input embedding.

    Symptoms: loading or serving fails

    Why: loaders make a matrix of `vocab_size` rows and copy the stored one into it. Where the two differ they stop
    with a size mismatch or, told to ignore mismatches, train with a random embedding.

    Common causes:
        - Tokens were added and `resize_token_embeddings` called on the model, but an older config.json was copied
          over the saved one. Solution: set vocab_size to the number of rows.
        - A merge took the config of one parent and the embedding of the other. Solution: take both from one.

    Bad:
        ```json config.json
        {"vocab_size": 326}
        ```
    Good:
        ```json config.json
        {"vocab_size": 320}
        ```

    Traps: a tokenizer may have fewer tokens than there are rows (padding to a multiple of 64). Multimodal models keep
    vocab_size in text_config, and the one at the root may count something else. Models with an encoder and a decoder
    may have a vocabulary for each. A packed (quantised) embedding has other shapes.

    Fix safety: safe: vocab_size becomes the number of rows, where all ids of the tokenizer fit. Nothing loads today.

    Sources: llama.cpp#6111, llama.cpp#3442; unsloth-zoo keeps the two equal when it adds tokens.
    """
    tensor = input_embedding(tensors)
    at, _ = config.text_where("vocab_size")
    size = config.integer("vocab_size", of_text=True)
    if size is None or tensor.dtype not in FLOATS or config.root.get("is_encoder_decoder") is True:
        return
    rows = tensor.shape[0]
    if size != rows:
        yield Finding(
            f"vocab_size is {size}, but {tensor.name} in {tensor.file} has {rows} rows, expected the same number: "
            "loading fails with a size mismatch, or goes on with a random embedding",
            config.file,
            at,
        )
