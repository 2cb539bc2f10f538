"""WGT009 non-finite-weights."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.facts.files import some
from modelcheck.facts.finite import NonFinite, by_file
from modelcheck.finding import Finding, Severity


@check("WGT009", severity=Severity.ERROR)
def non_finite_weights(non_finite: tuple[NonFinite, ...], weights: str) -> Iterator[Finding]:
    """The weights hold NaN or infinite values.

    Symptoms: answers are garbage, or worse than they should be

    Why: one NaN in a norm or a linear layer makes every logit NaN. vLLM loads such a checkpoint without a word and
    generates token 0; training on it gives a loss of NaN from the first step, or of zero.

    Common causes:
        - Training in float16 overflowed and went on. Solution: go back to the last sound checkpoint, train in bfloat16.
        - A merge divided by a norm of zero, or a cast to float16 made large values infinite. Solution: merge in
          float32, store as bfloat16.
        - The file was damaged, or saved while another process was writing. Solution: fetch or save it again.

    Bad:
        ```json tensors.json
        {"model.layers.1.post_attention_layernorm.weight": ["BF16", [64], "nan"]}
        ```
    Good:
        ```json tensors.json
        {"model.layers.1.post_attention_layernorm.weight": ["BF16", [64], "normal"]}
        ```

    Traps: stored attention masks hold infinities by right. Types of 8 bits and less are not looked at. By default the
    embedding and the small tensors are read whole and of the others both ends; `--weights full` reads everything,
    `--weights none` nothing, and `--weights used` (of a hub id) some rows, which cannot show that all is well.

    Sources: vLLM 0.32, measured: NaN weights load, cumulative_logprob is nan; unsloth#1056 for gradients of NaN.
    """
    for file, found in by_file(non_finite).items():
        one = found[0]
        reading = "values" if weights == "full" else "values that were read"
        yield Finding(
            f"{len(found)} of the tensors hold NaN or infinite values: {some([n.tensor.name for n in found])}; in the "
            f"first, {one.bad} of {one.read} {reading}, from index {_index(one)} on; expected finite ones alone: vLLM "
            "generates token 0 without a word, training gives a loss of NaN",
            file,
            one.tensor.name,
        )


def _index(found: NonFinite) -> list[int]:
    rest, index = found.first, []
    for size in reversed(found.tensor.shape):
        rest, place = divmod(rest, size)
        index.append(place)
    return index[::-1]
