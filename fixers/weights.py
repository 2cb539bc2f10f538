"""Mending tensors, their names and their index."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from modelcheck.edit import DropJson, Edit, Note, RenameTensor, SetJson, SetRows, WriteFile
from modelcheck.facts.config import Config
from modelcheck.facts.embeddings import input_embedding
from modelcheck.facts.expected import table
from modelcheck.facts.files import Files, some
from modelcheck.facts.heads import Tie, stored_head
from modelcheck.facts.special_tokens import StopIds
from modelcheck.facts.tensor_names import Quantization, Wrapped
from modelcheck.facts.tensors import Tensors
from modelcheck.facts.tokenizer import Tokenizer
from modelcheck.facts.trained_mean import NewRows
from modelcheck.facts.untrained import Untrained
from modelcheck.facts.weight_index import WeightIndex
from modelcheck.finding import Confidence, Finding
from modelcheck.fixer import CannotFix, fixer

from ._names import unwrapped
from ._shards import rebuilt

UNTIED = "not tie_word_embeddings"


@fixer("vocab-size-rows", safe=True)
def count_the_rows(
    finding: Finding, config: Config, tensors: Tensors, tokenizer: Tokenizer, tie: Tie
) -> Iterator[Edit]:
    """Set vocab_size to the number of rows that are stored."""
    embedding, head = input_embedding(tensors), stored_head(tensors)
    rows = embedding.shape[0]
    if tokenizer.size > rows:
        raise CannotFix(
            f"the tokenizer has ids up to {tokenizer.size - 1} and {embedding.name} only {rows} rows: the weights are "
            "those of another vocabulary; take weights and tokenizer from one place"
        )
    if head is not None and head in tensors and not tie.tied and tensors[head].shape[0] != rows:
        raise CannotFix(f"{head} has {tensors[head].shape[0]} rows and {embedding.name} {rows}: save the model again")
    yield SetJson(config.file, str(finding.at), rows)


@fixer("tied-but-two-heads", safe=False)
def untie(finding: Finding, config: Config, tensors: Tensors) -> Iterator[Edit]:
    """Set tie_word_embeddings to false, so that every loader uses the unembedding that is stored."""
    model_type, head = config.root.get("model_type"), str(stored_head(tensors))
    known = table(model_type)
    entries = (*known.shared, *(e for layout in known.layouts for e in layout)) if known else ()
    if not any(UNTIED in entry.when and entry.name == head for entry in entries):
        raise CannotFix(
            f"no table says that a model of type {model_type!r} reads {head} once it is untied: decide which "
            "matrix is the trained one, and save the model with that one alone"
        )
    if tensors[head].shape != input_embedding(tensors).shape:
        raise CannotFix(f"{head} has another shape than the embedding: save the model again, with one vocabulary")
    yield SetJson(config.file, str(finding.at), value=False)
    yield Note(f"right if {head} is the trained one; if the embedding is, drop {head} and leave the config")


@fixer("head-missing", safe=True)
def tie(finding: Finding, config: Config) -> Iterator[Edit]:
    """Set tie_word_embeddings to true, as models of this family have it."""
    model_type = config.root.get("model_type")
    known = table(model_type)
    if not (known and known.defaults.get("tie_word_embeddings") is True):
        raise CannotFix(
            f"models of type {model_type!r} have an unembedding of their own unless their config says otherwise: set "
            "tie_word_embeddings to true if the base model's config does, else save the model again with lm_head.weight"
        )
    yield SetJson(config.file, str(finding.at), value=True)


@fixer("untrained-token-used", safe=False)
def give_used_tokens_a_row(
    finding: Finding, new_rows: NewRows, emitted: Mapping[int, tuple[str, ...]], stop_ids: StopIds
) -> Iterator[Edit]:
    """Give tokens in use that were never trained a row near the mean of the trained ones, each its own."""
    _refuse_hint(finding)
    yield from _set_rows(new_rows, {*emitted, *stop_ids.in_force})


@fixer("untrained-rows", safe=False, option="all-untrained")
def give_every_token_a_row(finding: Finding, new_rows: NewRows, untrained: Untrained) -> Iterator[Edit]:
    """Give every row that was never trained a place near the mean of the trained ones, each its own."""
    _refuse_hint(finding)
    yield from _set_rows(new_rows, untrained.certain)


def _refuse_hint(finding: Finding) -> None:
    if finding.confidence < Confidence.HIGH:
        raise CannotFix(
            "closeness to unused rows is a hint, no proof: tokens in daily use lie there too, and a new row would undo "
            "what they have learnt"
        )


def _set_rows(new_rows: NewRows, ids: Iterable[int]) -> Iterator[Edit]:
    for tensor, rows in new_rows.of(frozenset(ids)).items():
        if rows:
            yield SetRows(tensor, rows)
            yield Note(
                f"{tensor}: the mean of its trained rows, and noise drawn from the token's id, of "
                f"{new_rows.means[tensor].noise:.0%} of their spread"
            )
    yield Note(
        "such a row does no harm, but nothing has trained it: train the embedding where the token is to mean something "
        "(LoRA: modules_to_save, or trainable_token_indices for these ids alone)"
    )
    if kept := [i for i, group in sorted(new_rows.originals.items()) if not group.isdisjoint(ids)]:
        which = ", ".join(map(str, kept[:8])) + (f" and {len(kept) - 8} more" if len(kept) > 8 else "")
        yield Note(f"of rows that were bit-identical, one stays as it is, the others may be copies of it: {which}")


@fixer("shard-missing", safe=True)
def rebuild_the_index(weight_index: WeightIndex, files: Files) -> Iterator[Edit]:
    """Write the index anew from the shards that are in the folder."""
    yield WriteFile(weight_index.file, rebuilt(weight_index, files))


@fixer("wrapper-prefix", safe=False)
def unwrap_names(wrapped: Wrapped, tensors: Tensors) -> Iterator[Edit]:
    """Take the wrapper's prefix off the names of the tensors."""
    if inside := next((kind for kind in ("lora", "modules_to_save", "base_layer") if kind in wrapped.names), None):
        raise CannotFix(
            f"there are tensors of an adapter among them ({some(wrapped.names[inside], 1)}): merge the adapter "
            "(`merge_and_unload()`) and save the model"
        )
    if tensors.absent:
        raise CannotFix(f"not all shards are in the folder: fetch {next(iter(tensors.absent.values()))} first")
    names = unwrapped(tensors, doubled="model.model." in wrapped.names)
    if len(set(names.values())) < len(names):
        raise CannotFix("without the prefix, two tensors would have one name: save the unwrapped model again")
    yield from (RenameTensor(old, new) for old, new in names.items() if old != new)


@fixer("quantization-config-left", safe=True)
def drop_what_no_weights_follow(quantization: Quantization, config: Config) -> Iterator[Edit]:
    """Drop the announcement of quantised weights from config.json."""
    if _on_the_fly(quantization):
        raise CannotFix("bitsandbytes may be asked for on purpose; to drop it after a merge, --unsafe")
    yield DropJson(config.file, quantization.at)


@fixer("quantization-config-left", safe=False)
def load_as_stored(quantization: Quantization, config: Config) -> Iterator[Edit]:
    """Drop the request to quantise the weights with bitsandbytes on every load."""
    if _on_the_fly(quantization):
        yield DropJson(config.file, quantization.at)


def _on_the_fly(quantization: Quantization) -> bool:
    """Whether a loader could do what the config says with plain weights, as bitsandbytes can."""
    method = str(quantization.settings.get("quant_method", "")).lower()
    return "bitsandbytes" in method or not method
