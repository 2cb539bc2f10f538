"""WGT001 untrained-rows."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from modelcheck.check import check
from modelcheck.fact import Missing
from modelcheck.facts.embeddings import Embeddings
from modelcheck.facts.tokenizer import Tokenizer
from modelcheck.facts.untrained import Untrained
from modelcheck.finding import Confidence, Finding, Severity

MOST_NAMED = 20
HARMLESS = "expected none; harmless while nothing emits these tokens, noise to the model where something does"


@check("WGT001", severity=Severity.INFO)
def untrained_rows(
    embeddings: Embeddings, untrained: Untrained, tokenizer: Tokenizer | None = None
) -> Iterator[Finding]:
    """The input embedding has rows that were never trained.

    Symptoms: answers are garbage, or worse than they should be

    Why: a token whose row never got a gradient is noise to the model, or looks exactly like another token. Nothing is
    lost while it stays unused, so this is an inventory: look at it before giving such a token a meaning.

    Common causes:
        - Reserved tokens and padding rows that no training text contained. Solution: none is needed.
        - Tokens were added and the model was saved before training. Solution: train the embedding rows too.
        - Words that were in the tokenizer's corpus but not in the model's. Solution: keep them out of prompts.

    Bad:
        ```json tensors.json
        {"model.embed_tokens.weight": {"4": "zeros", "300": 301}}
        ```
    Good:
        ```json tensors.json
        {"model.embed_tokens.weight": {"4": "normal"}}
        ```

    Traps: a small norm alone proves nothing (commas and braces have small norms in published models), hence near-zero
    means a thousandth of the median. Rows beyond the tokenizer's ids are padding, byte tokens that no text reaches
    are often exactly zero: both are counted, neither is a fault. Closeness to the centroid is a hint, not a proof. With
    `--weights used`, as for a hub id, only some rows are read, and where they show nothing the rule could not check.

    Fix safety: unsafe, and only with --all-untrained. Each row that is near zero or bit-identical to another becomes
    the mean of the trained rows of its matrix, and a noise of its own, drawn from the token's id: a tenth of their
    spread in every dimension, or more where the mean is long, so that it is told apart in 16 bits too. Of each group
    of identical rows one stays: it may be what the others are copies of. The unembedding's row changes only where it
    is untrained as well. Rows that are only near a centroid are never touched. Such a row does no harm; nothing has
    trained it.

    Sources: Magikarp (arXiv 2405.05417) and its reports; SmolLM2's 15 identical rows, which have a usual norm.
    """
    groups = ", ".join(str(len(group)) for group in untrained.identical[:MOST_NAMED])
    tests = (
        (
            f"near zero (norm at most a thousandth of the median {untrained.median:.3g})",
            untrained.near_zero,
            Confidence.HIGH,
        ),
        (
            f"bit-identical to another, in groups of {groups}",
            frozenset().union(*untrained.identical),
            Confidence.HIGH,
        ),
        ("near the centroid of rows known to be unused", untrained.near_centroid, Confidence.MEDIUM),
    )
    tensor = embeddings.tensor
    if embeddings.chosen is not None and not any(ids for _, ids, _ in tests):
        raise Missing(f"{_looked_at(embeddings)} of {tensor.name} show none", remedy="--weights embeddings")
    for what, ids, confidence in tests:
        if ids:
            named = _named(sorted(ids), untrained.padding(ids), tokenizer)
            message = f"{len(ids)} of {_looked_at(embeddings)} of {tensor.name} are {what}: {named}; {HARMLESS}"
            yield Finding(message, tensor.file, tensor.name, Severity.INFO, confidence)


def _looked_at(embeddings: Embeddings) -> str:
    if embeddings.chosen is None:
        return f"{embeddings.rows} rows"
    return f"the {embeddings.read_rows} rows read (of {embeddings.rows})"


def _named(ids: Collection[int], padding: Collection[int], tokenizer: Tokenizer | None) -> str:
    words = [i for i in ids if i not in padding]
    parts = [f"{tokenizer.token(i)!r} (id {i})" if tokenizer else f"id {i}" for i in words[:MOST_NAMED]]
    if len(words) > MOST_NAMED:
        parts.append(f"{len(words) - MOST_NAMED} more")
    if padding:
        parts.append(f"{len(padding)} padding rows beyond the tokenizer's ids")
    return ", ".join(parts)
