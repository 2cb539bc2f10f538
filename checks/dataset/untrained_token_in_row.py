"""DAT010 untrained-token-in-row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from modelcheck.check import check
from modelcheck.facts.encoded_rows import EncodedSplit
from modelcheck.facts.tokenizer import Tokenizer
from modelcheck.facts.untrained import Untrained
from modelcheck.finding import Finding, Severity

# From this share of the rows on the token is a part of the task.
MANY = 0.01


@check("DAT010", severity=Severity.ERROR)
def untrained_token_in_row(
    encoded_rows: tuple[EncodedSplit, ...],
    untrained: Untrained,
    tokenizer: Tokenizer,
    emitted: Mapping[int, tuple[str, ...]] | None = None,
) -> Iterator[Finding]:
    """The training rows use a token whose embedding row was never trained.

    Symptoms: training runs, and part of the model does not learn; answers are garbage, or worse than they should be

    Why: the row is zero or the same as that of other tokens, so the model reads noise there. LoRA on attention and MLP
    leaves it as it is; gradients may turn to NaN.

    Common causes:
        - Reserved tokens were given a meaning by the data. Solution: train their rows too (PEFT:
          `trainable_token_indices`, or embedding and unembedding in `modules_to_save`).
        - The rows were written for another model's tokens. Solution: use those of this one.

    Bad:
        ```json tensors.json
        {"model.embed_tokens.weight": {"4": "zeros"}}
        ```
        ```json train.jsonl
        {"messages": [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "<|reserved_0|>A piece."}]}
        ```
    Good:
        ```json tensors.json
        {"model.embed_tokens.weight": {"4": "zeros"}}
        ```
        ```json train.jsonl
        {"messages": [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "A piece."}]}
        ```

    Traps: tokens of the chat template itself are the matter of untrained-token-used. Rows that only lie near the
    centroid of unused ones are not told. In less than 1 % of the rows it is a warning.

    Sources: unsloth's check of the first and last rows of a data set (here not only those count); Magikarp.
    """
    certain = untrained.certain - set(emitted or {})
    for encoded in encoded_rows:
        if encoded.split.name != "train":
            continue
        used = Counter(i for row in encoded.rows for i in certain.intersection(row.ids))
        for number, count in sorted(used.items()):
            rows = [row.example for row in encoded.rows if number in row.ids]
            message = (
                f"{encoded.of(count)} use {tokenizer.token(number)!r} (id {number}; {encoded.split.named(rows)}), "
                "whose embedding row was never trained, expected trained tokens: the model reads noise there; train "
                "that row too, or use another token"
            )
            severity = Severity.ERROR if count >= MANY * len(encoded.rows) else Severity.WARNING
            yield Finding(message, *encoded.split.place(rows), severity)
