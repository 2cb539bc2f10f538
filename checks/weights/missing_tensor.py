"""WGT004 missing-tensor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from modelcheck.check import check
from modelcheck.fact import Missing
from modelcheck.facts.files import some
from modelcheck.facts.gaps import Gaps
from modelcheck.facts.periodic import NUMBER, Gap
from modelcheck.facts.tensors import Tensors
from modelcheck.finding import Confidence, Finding, Severity


@check("WGT004", severity=Severity.ERROR)
def missing_tensor(tensors: Tensors, tensor_gaps: Gaps) -> Iterator[Finding]:
    """A tensor that the architecture needs is not in the checkpoint, or has another shape.

    Symptoms: answers are garbage, or worse than they should be; loading or serving fails

    Why: vLLM loads such a checkpoint without a word and computes with whatever the memory held: NaN logits, or the same
    token for ever. transformers fills the tensor with random numbers and warns in a long log. Nothing else stops.

    Common causes:
        - A merge, a pruning or a conversion script dropped or renamed a tensor. Solution: run it again on the whole
          state dict, and compare the names with those of the base model.
        - config.json belongs to another size of the model. Solution: take config and weights from one place.
        - A save under FSDP or DeepSpeed wrote only what one process held. Solution: gather the parameters first.

    Bad:
        ```json tensors.json
        {"model.layers.1.self_attn.k_proj.weight": null}
        ```
    Good:
        ```json tensors.json
        {"model.layers.1.self_attn.rotary_emb.inv_freq": ["F32", [16], "ones"]}
        ```

    Traps: more tensors than expected do no harm (draft layers, old buffers). Biases that no layer has are a warning:
    transformers fills in zeros, which is what a model needs that was converted from a family without. A shard that is
    not in the folder, a quantised model, code of the checkpoint's own and a config with keys that no table was made for
    cannot be checked. Without a table, layers are compared with one another; hybrids, dense first layers and pruned
    models have layers of several kinds, so only what is odd in one layer of many is told. The unembedding is the matter
    of head-missing.

    Sources: vLLM 0.32, measured: a checkpoint without one q_proj loads and generates token 0; the tables are what
    transformers 5.23 saves.
    """
    if tensor_gaps.unsure and not tensor_gaps.gaps:
        raise Missing(f"{tensor_gaps.unsure}; no layer lacks what the others have")
    sure = Confidence.MEDIUM if tensor_gaps.unsure else Confidence.HIGH
    file = next((t.file for t in tensors.values()), None)
    lost = [gap.name for gap in tensor_gaps.gaps if gap.found is None]
    biases = _biases_of_no_layer(lost, tensors)
    for names, severity, filled in (
        ([name for name in lost if name not in biases], Severity.ERROR, "random numbers"),
        (biases, Severity.WARNING, "zeros"),
    ):
        if names:
            yield Finding(
                f"not in the checkpoint: {some(names)}; expected {'it' if len(names) == 1 else 'them'}, as "
                f"{tensor_gaps.model} {_have(tensor_gaps)}: vLLM loads it all the same and generates garbage, "
                f"transformers fills in {filled}",
                file,
                names[0],
                severity,
                sure,
            )
    odd = [gap for gap in tensor_gaps.gaps if gap.found is not None]
    if odd:
        yield Finding(
            f"of another shape: {_shapes(odd)}, as {tensor_gaps.model} {_have(tensor_gaps)}: loading fails, or goes on "
            "with random numbers where mismatches are ignored",
            tensors[odd[0].name].file,
            odd[0].name,
            confidence=sure,
        )


def _biases_of_no_layer(lost: Sequence[str], tensors: Tensors) -> list[str]:
    """Biases that are in no layer at all: the config promises them, the model was trained without."""
    stored = {NUMBER.sub("N", name) for name in (*tensors, *tensors.absent)}
    return [name for name in lost if name.endswith("bias") and NUMBER.sub("N", name) not in stored]


def _have(gaps: Gaps) -> str:
    return "have" if gaps.unsure else "has with this config"


def _shapes(gaps: Sequence[Gap], most: int = 3) -> str:
    shown = [f"{gap.name} is {list(gap.found or ())}, expected {list(gap.expected or ())}" for gap in gaps[:most]]
    return "; ".join(shown) + (f"; and {len(gaps) - most} more" if len(gaps) > most else "")
