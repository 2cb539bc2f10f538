"""WGT002 untrained-token-used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from modelcheck.check import check
from modelcheck.facts.embeddings import Embeddings
from modelcheck.facts.special_tokens import SpecialTokens, StopIds
from modelcheck.facts.tokenizer import Tokenizer
from modelcheck.facts.untrained import Untrained
from modelcheck.finding import Confidence, Finding, Severity

REMEDY = (
    "expected a trained row: the model reads noise there; train the embedding and the unembedding too (LoRA: "
    "modules_to_save), or use tokens that this model knows"
)


@check("WGT002", severity=Severity.ERROR)
def untrained_token_used(
    embeddings: Embeddings,
    untrained: Untrained,
    tokenizer: Tokenizer,
    emitted: Mapping[int, tuple[str, ...]],
    stop_ids: StopIds,
    special_tokens: SpecialTokens,
    is_chat: bool,
) -> Iterator[Finding]:
    """A token that the chat template, a special-token field or a stop id uses has a row that was never trained.

    Symptoms: answers are garbage, or worse than they should be; training runs, and part of the model does not learn

    Why: the template of an instruct model on the weights of its base model writes tokens that the base never saw. Their
    rows are zero or all the same, so the model cannot tell a header from an end of turn; gradients turn to NaN or
    training seems to work and generation never stops. LoRA on attention and MLP leaves those rows as they are.

    Common causes:
        - An instruct template on a base model. Solution: start from the instruct model, train the embedding and the
          unembedding as well, or use a template of ordinary text.
        - Tokens were added, the matrix resized, and the rows never trained. Solution: as above.

    Bad:
        ```json tensors.json
        {"model.embed_tokens.weight": {"2": "zeros", "3": "zeros"}}
        ```
    Good:
        ```json tensors.json
        {"model.embed_tokens.weight": {"2": "normal", "4": "zeros", "5": "zeros"}}
        ```

    Traps: pad (also as a further stop id, as Qwen lists it), unk and mask tokens, reserved tokens and padding rows are
    never read: only what is emitted counts. In published instruct models the tokens in use may lie near the centroid
    of the unused ones: that is information. A dead stop id beside a living one stops nothing and harms nothing: a
    warning.

    Fix safety: unsafe: the rows of these tokens become the mean of the trained rows and a noise of their own, as
    untrained-rows says. The model then reads an average word instead of nothing, and tells the tokens apart. It has not
    learnt them: train the embedding (modules_to_save, or trainable_token_indices).

    Sources: unsloth#658, unsloth#1056, unsloth#1258; Magikarp's report on Llama-3-8B (254 of 256 special tokens).
    """
    certain, near = untrained.certain, untrained.near_centroid
    stops = {number: f"stop id in {stop.file}" for number, stop in stop_ids.in_force.items()}
    stops = {number: where for number, where in stops.items() if 0 <= number < min(tokenizer.size, untrained.rows)}
    pad = tokenizer.id(special_tokens.content("pad_token") or "")
    place = embeddings.tensor.file, embeddings.tensor.name
    for number in sorted({*emitted, *stops} & {*certain, *near}):
        if number == pad and number not in emitted and len(stops) > 1:
            continue
        where = [*emitted.get(number, ()), *([stops[number]] if number in stops else [])]
        row = f"{tokenizer.token(number)!r} (id {number}) is in use ({'; '.join(where)}), but its embedding row"
        if number in near:
            message = f"{row} lies near the centroid of rows known to be unused, expected it apart from them"
            yield Finding(message, *place, Severity.INFO, Confidence.MEDIUM)
            continue
        if number in emitted or (is_chat and certain.issuperset(stops)):
            severity = Severity.ERROR
        else:
            severity = Severity.WARNING if is_chat else Severity.INFO
        yield Finding(f"{row} {_fault(number, untrained, embeddings, tokenizer)}; {REMEDY}", *place, severity)


def _fault(number: int, untrained: Untrained, embeddings: Embeddings, tokenizer: Tokenizer) -> str:
    norm = f"norm {embeddings.norm(number):.2g}, the median is {untrained.median:.3g}"
    if number in untrained.near_zero:
        return f"was never trained ({norm})"
    twins = sorted(untrained.twins(number))
    others = ", ".join(f"{tokenizer.token(i)!r} (id {i})" for i in twins[:3])
    return f"is bit-identical to {others}{f' and {len(twins) - 3} more' * (len(twins) > 3)} ({norm})"
