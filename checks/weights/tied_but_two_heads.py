"""WGT007 tied-but-two-heads."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from modelcheck.check import check
from modelcheck.fact import Missing
from modelcheck.facts.config import Config
from modelcheck.facts.embeddings import CHUNK, FLOATS, input_embedding
from modelcheck.facts.files import Files
from modelcheck.facts.heads import Tie, stored_head
from modelcheck.facts.tensors import Tensor, Tensors
from modelcheck.finding import Finding, Severity
from modelcheck.target import Target, Targets

# The first versions that notice two different matrices and use both.
UNTIE = {"transformers": (5,), "vllm": (0, 32)}


@check("WGT007", severity=Severity.ERROR)
def tied_but_two_heads(
    config: Config,
    tensors: Tensors,
    files: Files,
    tie: Tie,
    weights: str,
    target: Targets,
    used_rows: frozenset[int] | None = None,
) -> Iterator[Finding]:
    """The config ties unembedding to embedding, but the checkpoint stores an unembedding of its own.

    Symptoms: answers are garbage, or worse than they should be; loading or serving fails

    Why: who believes the config drops the stored head: transformers 4 does, and so did vLLM before 0.32, and the output
    is then gibberish. transformers 5 and vLLM 0.32 keep both and warn.

    Common causes:
        - The embedding was resized or trained, and the tie was lost: PEFT's modules_to_save makes two copies.
          Solution: set tie_word_embeddings to false if the stored head is the trained one.
        - A merge of a tied and an untied model. Solution: decide which config belongs to the result.

    Bad:
        ```json config.json
        {"tie_word_embeddings": true}
        ```
    Good:
        ```json config.json
        {"tie_word_embeddings": false}
        ```

    Traps: a stored copy with the same bytes is harmless. The config of a family that is tied by default may lack the
    key. What is compared is the bytes, so with `--weights none` nothing is said,
    and with `--weights used` only what some rows show.

    Fix safety: unsafe. tie_word_embeddings becomes false, where the class is known to read a head then: the stored
    head, which older loaders drop, is used by all of them. Right if that one is the trained one. No fix drops a stored
    head; where its bytes are those of the embedding nothing is wrong.

    Sources: vllm#14212, vllm#21755, vllm#51063, peft#2777, transformers#45127; transformers 5.23, measured: not tied,
    with a warning.
    """
    name = stored_head(tensors)
    if not tie.tied or name is None:
        return
    if name not in tensors:
        raise Missing(f"{name} is in {tensors.absent[name]}, which is not in the folder")
    head, embedding = tensors[name], input_embedding(tensors)
    if head.dtype not in FLOATS or embedding.dtype not in FLOATS:
        return
    difference = None
    if head.shape != embedding.shape:
        difference = f"has shape {list(head.shape)}, the embedding {list(embedding.shape)}"
    elif head.dtype != embedding.dtype:
        raise Missing(f"{name} is stored as {head.dtype} and the embedding as {embedding.dtype}: not compared")
    elif weights == "none":
        raise Missing("no tensor data was read", remedy="--weights embeddings")
    elif weights == "used":
        row = _different_row(files, head, embedding, used_rows or frozenset())
        if row is None:
            raise Missing("the rows of both that were read are equal", remedy="--weights embeddings")
        difference = f"differs from {embedding.name}, for example in row {row}"
    elif (byte := _first_difference(files, head, embedding)) is not None:
        row = byte // (FLOATS[head.dtype] * head.shape[1])
        difference = f"differs from {embedding.name}, from row {row} on"
    if difference:
        says = "true" if tie.said else f"absent, which {config.root.get('model_type')} reads as true"
        yield Finding(
            f"tie_word_embeddings is {says}, but {name} is stored and {difference}; expected false, or one matrix: "
            "transformers 4 and vLLM before 0.32 drop the stored one and generate from the other, transformers 5 and "
            "vLLM 0.32 use both",
            config.file,
            tie.at,
            Severity.WARNING if _all_untie(target) else Severity.ERROR,
        )


def _first_difference(files: Files, one: Tensor, other: Tensor) -> int | None:
    """The first byte in which two tensors of one type and shape differ, found without holding either."""
    pieces = zip(
        files.stream(one.file, one.start, one.stop, CHUNK),
        files.stream(other.file, other.start, other.stop, CHUNK),
        strict=True,
    )
    for number, (a, b) in enumerate(pieces):
        if bytes(a) != bytes(b):  # views are compared element by element, bytes at once
            return number * CHUNK + next(i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y)
    return None


def _different_row(files: Files, one: Tensor, other: Tensor, rows: Collection[int]) -> int | None:
    """One of the rows in which two tensors of one type and shape differ."""
    size = FLOATS[one.dtype] * one.shape[1]
    spans = {row: [(t.file, t.start + row * size, t.start + (row + 1) * size) for t in (one, other)] for row in rows}
    files.expect(span for pair in spans.values() for span in pair)
    return next((row for row, (a, b) in sorted(spans.items()) if files.read(*a) != files.read(*b)), None)


def _all_untie(target: Targets) -> bool:
    """Whether every runtime that was named is known to keep both."""
    return bool(target.named) and all(map(_unties, target.named))


def _unties(target: Target) -> bool:
    if target.runtime not in UNTIE or target.operator in ("<", "<="):
        return False
    return not target.version or target.version >= UNTIE[target.runtime]
