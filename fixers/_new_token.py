"""A token that was not there, and the rows that it needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from modelcheck.edit import AddToList, AppendRows, Edit, SetJson
from modelcheck.facts.config import Config
from modelcheck.facts.embeddings import FLOATS, Embeddings, input_embedding
from modelcheck.facts.files import Files, JsonObject
from modelcheck.facts.heads import stored_head
from modelcheck.facts.padding import Pad
from modelcheck.facts.tensors import Tensors
from modelcheck.fixer import CannotFix
from modelcheck.json_text import pointer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FLAGS = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}


def added_token(token: Pad, files: Files, tokenizer_config: JsonObject | None) -> Iterator[Edit]:
    """The token in every list of added tokens that the checkpoint keeps."""
    described = {"content": token.content, **FLAGS}
    yield AddToList("tokenizer.json", "/added_tokens", {"id": token.id, **described})
    if (tokenizer_config or {}).get("added_tokens_decoder"):
        yield SetJson("tokenizer_config.json", pointer("added_tokens_decoder", token.id), described)
    if "added_tokens.json" in files:
        yield SetJson("added_tokens.json", pointer(token.content), token.id)


def appended_rows(files: Files, tensors: Tensors, config: Config) -> Iterator[Edit]:
    """One more row in the embedding and, where it is stored, the head: the mean of their rows, never a likely token.

    Raises CannotFix where other tensors are as long as the vocabulary.
    """
    embedding = input_embedding(tensors)
    head = stored_head(tensors)
    if head and head in tensors.absent:
        raise CannotFix(f"{head} is in {tensors.absent[head]}, which is not in the folder; fetch it first")
    ours = dict.fromkeys([embedding.name, *([head] if head else [])])
    number = embedding.shape[0]
    if other := next((name for name, t in tensors.items() if number in t.shape and name not in ours), None):
        raise CannotFix(f"{other} is as long as the vocabulary too; resize the model in the program that trains it")
    for name in ours:
        tensor = tensors[name]
        if tensor.dtype not in FLOATS or tensor.shape != embedding.shape:
            raise CannotFix(
                f"{name} is stored as {tensor.dtype} of shape {list(tensor.shape)}; mend the model it is from"
            )
        yield AppendRows(name, _mean(Embeddings(files, tensor)))
    for at, part in {"": config.root, config.text_at: config.text}.items():
        if "vocab_size" in part:
            yield SetJson(config.file, f"{at}/vocab_size", number + 1)


def _mean(embeddings: Embeddings) -> NDArray[np.float32]:
    import numpy as np

    total = np.zeros(embeddings.width, np.float64)
    for _, raw in embeddings.pieces(np.arange(embeddings.rows)):
        total += embeddings.values(raw).sum(axis=0, dtype=np.float64)
    return (total / embeddings.rows).astype(np.float32)[None]
