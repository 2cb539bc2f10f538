"""DAT008 answer-cut."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.dataset.example import text_of
from modelcheck.dataset.limit import RowLimit
from modelcheck.facts.encoded_rows import EncodedRow, EncodedSplit
from modelcheck.facts.tokenizer import Tokenizer
from modelcheck.finding import Finding, Severity


@check("DAT008", severity=Severity.ERROR)
def answer_cut(encoded_rows: tuple[EncodedSplit, ...], row_limit: RowLimit, tokenizer: Tokenizer) -> Iterator[Finding]:
    """A training row is longer than training takes, so that its answer or the end of its turn is cut off.

    Symptoms: the model does not stop, or stops in the wrong place; training runs, and part of the model does not learn

    Why: trainers cut long rows at their end without a word. The answer loses its end, and with it the token that ends
    the turn: the model learns that answers break off. If the prompt alone fills the row, nothing carries loss.

    Common causes:
        - A trainer's default (1024 tokens in TRL). Solution: set `max_length` to the longest row.
        - Whole documents in the prompt. Solution: shorten them before rendering, at their beginning.

    Bad:
        ```json config.json
        {"max_position_embeddings": 24}
        ```
        ```json train.jsonl
        {"messages": [{"role": "user", "content": "What is a token?"}, {"role": "assistant", "content": "A piece."}]}
        ```
    Good:
        ```json config.json
        {"max_position_embeddings": 128}
        ```
        ```json train.jsonl
        {"messages": [{"role": "user", "content": "What is a token?"}, {"role": "assistant", "content": "A piece."}]}
        ```

    Traps: blank characters after the end of the turn may be cut. Rows of plain text are cut as a matter of course: a
    warning. So are rows beyond what the model was made for while nobody has said at which length training will cut.

    Sources: trl#1053, unsloth#3019, trl PR #4698; SFTConfig.max_length of TRL 1.16.
    """
    for encoded in encoded_rows:
        long = [row for row in encoded.rows if len(row.ids) > row_limit.tokens]
        if encoded.split.name == "train" and long:
            yield _finding(encoded, long, row_limit, tokenizer)


def _finding(encoded: EncodedSplit, long: list[EncodedRow], limit: RowLimit, tokenizer: Tokenizer) -> Finding:
    split, rows = encoded.split, [row.example for row in long]
    answers = [row for row in long if row.example.answer is not None]
    gone = sum(len(row.ids) - _answer_length(row, tokenizer) >= limit.tokens for row in answers)
    what = f"the answer or the end of its turn is cut off, and in {gone} of them nothing is left of the answer"
    message = (
        f"{encoded.of(len(long))} are longer than the {limit.tokens} tokens of {limit.source} ({split.named(rows)}; "
        f"the longest has {max(len(row.ids) for row in long)}), expected none: "
        f"{what if answers else 'their end is cut off'}"
    )
    severity = Severity.ERROR if limit.binding and answers else Severity.WARNING
    return Finding(message, *split.place(rows), severity)


def _answer_length(row: EncodedRow, tokenizer: Tokenizer) -> int:
    """The tokens of the answer and the one that ends its turn."""
    return len(tokenizer.encode(text_of(row.example.answer or {}))) + 1
