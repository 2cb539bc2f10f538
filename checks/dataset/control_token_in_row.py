"""DAT009 control-token-in-row."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

from modelcheck.check import check
from modelcheck.dataset.example import Example, text_of
from modelcheck.facts.dataset import Dataset, Split
from modelcheck.facts.special_tokens import SpecialTokens
from modelcheck.facts.tokenizer import Tokenizer
from modelcheck.finding import Finding, Severity

# From this share of the rows on it is how the data is made, not a stray row.
MANY = 0.01
# What assistants write themselves.
OWN = re.compile(r"think|reason|tool|function|call", re.IGNORECASE)


@check("DAT009", severity=Severity.ERROR)
def control_token_in_row(
    dataset: Dataset,
    tokenizer: Tokenizer,
    special_tokens: SpecialTokens,
    emitted: Mapping[int, tuple[str, ...]] | None = None,
) -> Iterator[Finding]:
    """The text of a message contains a control token, which the tokenizer takes for the token itself.

    Symptoms: training and serving see different text; the model does not stop, or stops in the wrong place; a
    downloaded file could do harm

    Why: a turn that holds `<|im_end|>` ends there for the model: what follows stands outside of any turn, and it learns
    to write such text. In text from outside, it is how somebody speaks in the name of the system.

    Common causes:
        - The rows were rendered once and split into messages again. Solution: keep the messages, let the template frame
          them; strip the tokens from the contents.
        - An EOS was appended to every answer by hand. Solution: leave it to the template, which writes one.
        - Text about models, or HTML's `<s>`. Solution: drop such rows, or break the token up.

    Bad:
        ```json train.jsonl
        {"messages": [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "A piece.<|im_end|>"}]}
        ```
    Good:
        ```json train.jsonl
        {"messages": [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "A piece."}]}
        ```

    Traps: only tokens that the template writes, BOS, EOS and pad end or open something; others (an image placeholder,
    fill-in-the-middle) may be meant: information. Marks of thinking and tool calls belong into answers. Rows that are
    plain text hold the tokens of their own rendering. In less than 1 % of the rows it is a warning.

    Sources: trl#1400; OpenAI's document on ChatML, which warns of injected turns.
    """
    roles = {special_tokens.content(role) for role in ("bos_token", "eos_token", "pad_token")}
    framing = {t for i, t in tokenizer.special.items() if t in roles or i in (emitted or {})}
    if (pattern := _pattern(tokenizer.special.values())) is None:
        return
    for split in dataset.splits:
        found = [(row, tokens) for row in split.examples if (tokens := _tokens(row, pattern))]
        yield from _findings(split, [(row, tokens & framing) for row, tokens in found], framing=True)
        yield from _findings(split, [(row, tokens - framing) for row, tokens in found], framing=False)


def _pattern(tokens: Collection[str]) -> re.Pattern[str] | None:
    longest_first = sorted((token for token in tokens if token.strip()), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None


def _tokens(row: Example, pattern: re.Pattern[str]) -> set[str]:
    return {
        token
        for message in row.messages
        for token in pattern.findall(text_of(message))
        if not (message["role"] in ("assistant", "tool") and OWN.search(token))
    }


def _findings(split: Split, found: Sequence[tuple[Example, set[str]]], *, framing: bool) -> Iterator[Finding]:
    rows = [row for row, tokens in found if tokens]
    if not rows:
        return
    counted = Counter(token for _, tokens in found for token in sorted(tokens))
    tokens = ", ".join(repr(token) for token, _ in counted.most_common(3))
    which, severity = "special tokens", Severity.INFO
    if framing:
        which = "control tokens"
        severity = Severity.ERROR if len(rows) >= MANY * split.rows else Severity.WARNING
    message = (
        f"{split.of(len(rows))} contain {which} as text ({tokens}; {split.named(rows)}), expected none in the contents "
        "of messages: they are encoded as the tokens themselves" + (", and end or open a turn there" if framing else "")
    )
    yield Finding(message, *split.place(rows), severity)
