"""WGT006 head-missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from modelcheck.check import check
from modelcheck.fact import Missing
from modelcheck.facts.config import Config
from modelcheck.facts.embeddings import input_embedding
from modelcheck.facts.expected import table
from modelcheck.facts.heads import HEADS, Tie, stored_head
from modelcheck.facts.tensor_names import Wrapped, packed, part_of
from modelcheck.facts.tensors import Shard, Tensors
from modelcheck.finding import Finding, Severity

OTHER_NAMES = ("lm_head", "embed_out", "output", "head", "unembed", "score")
CAUSAL = ("ForCausalLM", "LMHeadModel")


@check("WGT006", severity=Severity.ERROR)
def head_missing(
    config: Config, tensors: Tensors, shards: Mapping[str, Shard], wrapped: Wrapped, tie: Tie
) -> Iterator[Finding]:
    """The unembedding is not tied to the embedding, and is not stored either.

    Symptoms: answers are garbage, or worse than they should be

    Why: transformers starts with a random head and warns once; vLLM says nothing, gives every token the same
    probability and generates token 0.

    Common causes:
        - A tied model was saved, then tie_word_embeddings set to false or dropped from config.json, and the default of
          the class is false. Solution: set it to true, if the base model's config says so.
        - A script that merges or shards left the head out. Solution: save again, with `lm_head.weight`.

    Bad:
        ```json tensors.json
        {"lm_head.weight": null}
        ```
        ```json config.json
        {"architectures": ["SmolLM3ForCausalLM"], "model_type": "smollm3", "tie_word_embeddings": false}
        ```
    Good:
        ```json tensors.json
        {"lm_head.weight": null}
        ```
        ```json config.json
        {"tie_word_embeddings": true}
        ```

    Traps: a config without the key has the default of its class, which is true for some families; of an architecture
    that is not in our tables it is unknown, and nothing is said. A head may lie in a shard that is not here, or be
    quantised. Only causal language models have one; classifiers, embedders and bare models do not.

    Fix safety: safe, and only for model types whose own default is the tie: tie_word_embeddings becomes true, which is
    what such a model was trained with. For any other the unembedding is lost, and no setting brings it back.

    Sources: tinker-cookbook#593 (tied at 0.6B and 4B, not at 8B), LLaMA-Factory#6749; vLLM 0.32, measured: uniform
    logits.
    """
    if not any(str(name).endswith(CAUSAL) for name in _architectures(config)):
        return
    if wrapped or tie.tied or stored_head(tensors):
        return
    input_embedding(tensors)  # without one, these are no weights of a language model that we can judge
    known = table(config.root.get("model_type"))
    # A quantised head has other suffixes; classes that we do not know give it other names.
    if (packed(tensors) or not known) and any(part in name for name in tensors for part in OTHER_NAMES):
        return
    if reason := part_of(shards, tensors):
        raise Missing(reason)
    says = "false" if tie.said else f"absent, which {config.root.get('model_type')} reads as false"
    yield Finding(
        f"tie_word_embeddings is {says}, but no tensor is called {' or '.join(HEADS)}; expected an unembedding, or "
        "true: transformers fills in a random one, vLLM generates token 0 without a word",
        config.file,
        tie.at,
    )


def _architectures(config: Config) -> list[object]:
    named = config.root.get("architectures")
    return named if isinstance(named, list) else []
