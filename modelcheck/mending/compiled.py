"""Edits compiled: what each file of the checkpoint becomes when all of them are carried out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

from modelcheck import json_text
from modelcheck.change import FileChange, Kept, Piece, Seen, digest
from modelcheck.edit import (
    AddToList,
    AppendRows,
    DropFile,
    DropJson,
    DropTensor,
    Edit,
    JsonEdit,
    RenameTensor,
    SetJson,
    SetRows,
    SplitTensor,
    TensorEdit,
    WriteFile,
)
from modelcheck.fact import Malformed, NotApplicable
from modelcheck.facts.files import Files
from modelcheck.facts.tensors import Shard, Tensor
from modelcheck.facts.tokenizer import TOKENIZER_LIMIT
from modelcheck.facts.weight_index import WeightIndex
from modelcheck.fixer import CannotFix
from modelcheck.mending.tensor_edit import rewritten
from modelcheck.names import INDEX
from modelcheck.resolver import Resolver
from modelcheck.sources.local import Status

# {file: its pieces}, None for a file that goes.
Contents = dict[str, tuple[Piece, ...] | None]
# {file: how it was when it was listed}.
Looked = Callable[[str], Status]


def contents(edits: Iterable[Edit], facts: Resolver) -> Contents:
    """What the files become. Raises CannotFix where an edit does not fit what is there."""
    files: Files = facts["files"]
    of_text: dict[str, list[JsonEdit | WriteFile | DropFile]] = defaultdict(list)
    of_tensors: dict[str, TensorEdit] = {}
    for edit in edits:
        if isinstance(edit, (JsonEdit, WriteFile, DropFile)):
            of_text[edit.file].append(edit)
        elif isinstance(edit, TensorEdit):
            of_tensors[edit.tensor] = _merged(of_tensors.get(edit.tensor), edit)
    found: Contents = {}
    if of_tensors:
        _refuse_twice(facts["shards"], of_tensors)
        found |= _shards(files, facts["shards"], of_tensors)
        with suppress(NotApplicable):
            index: WeightIndex = facts["weight_index"]
            if index.file == INDEX and (kept_true := list(_index_edits(facts["shards"], index, of_tensors))):
                of_text[INDEX] += kept_true
    for name, wanted in of_text.items():
        content = _text(files, name, wanted)
        found[name] = None if content is None else (content,)
    return found


def composed(first: Contents, second: Contents) -> Contents:
    """What files become by the second where it was made for what they are after the first."""
    found = dict(first)
    for name, pieces in second.items():
        old = first.get(name)
        if pieces is None or old is None:
            found[name] = pieces
            continue
        cut = ((p,) if isinstance(p, bytes) else _slice(old, p.start, p.stop) for p in pieces)
        found[name] = tuple(piece for stretch in cut for piece in stretch)
    return found


def _slice(pieces: Iterable[Piece], start: int, stop: int) -> Iterator[Piece]:
    """Bytes [start, stop) of a content that is made of pieces."""
    offset = 0
    for piece in pieces:
        low, high = max(start - offset, 0), min(stop - offset, len(piece))
        if low < high:
            yield piece[low:high] if isinstance(piece, bytes) else Kept(piece.start + low, piece.start + high)
        offset += len(piece)


def changes(becoming: Contents, files: Files, status: Looked) -> list[FileChange]:
    """The changes of those files that do not stay as they are."""
    found = [_change(files, name, pieces, status) for name, pieces in sorted(becoming.items())]
    return [change for change in found if not _is_same(files, change)]


def _merged(known: TensorEdit | None, edit: TensorEdit) -> TensorEdit:
    if isinstance(known, SetRows) and isinstance(edit, SetRows):
        return SetRows(edit.tensor, {**known.rows, **edit.rows})
    return edit


def _change(files: Files, name: str, pieces: tuple[Piece, ...] | None, status: Looked) -> FileChange:
    if name not in files:
        return FileChange(name, pieces, None)
    inode, size, mtime_ns = status(name)
    change = FileChange(name, pieces, Seen(inode, size, mtime_ns, ""))
    lost = digest(lambda start, stop: files.read(name, start, stop), change.lost())
    return FileChange(name, pieces, Seen(inode, size, mtime_ns, lost))


def _is_same(files: Files, change: FileChange) -> bool:
    """Whether nothing would change. Contents that are partly kept were edited on purpose."""
    if change.pieces is None:
        return change.seen is None
    [first, *more] = change.pieces or (b"",)
    whole = isinstance(first, bytes) and not more
    return whole and change.seen is not None and change.seen.size == len(first) and files.read(change.name) == first


def _text(files: Files, name: str, edits: Sequence[JsonEdit | WriteFile | DropFile]) -> bytes | None:
    first, *others = edits
    if isinstance(first, DropFile):
        return None
    try:
        if isinstance(first, WriteFile):
            if not others:
                return first.content
            text, edits = first.content.decode("utf-8"), others
        else:
            text = files.whole(name, TOKENIZER_LIMIT).decode("utf-8") if name in files else "{}\n"
        for edit in edits:
            text = _applied(text, edit)
    except (KeyError, ValueError, RecursionError) as error:
        raise CannotFix(f"{name}: the place to be changed is not there: {error}") from error
    except Malformed as broken:
        raise CannotFix(str(broken)) from broken
    return text.encode("utf-8")


def _applied(text: str, edit: JsonEdit | WriteFile | DropFile) -> str:
    match edit:
        case SetJson(at=at, value=value):
            return json_text.set_value(text, at, value)
        case AddToList(at=at, value=value):
            return json_text.add_to_list(text, at, value)
        case DropJson(at=at):
            return json_text.drop_value(text, at)
    raise TypeError(edit)


def _refuse_twice(shards: Mapping[str, Shard], edits: Mapping[str, TensorEdit]) -> None:
    """Raise CannotFix where two tensors would have one name, be it in two files."""
    names: set[str] = set()
    for old in (name for shard in shards.values() for name in shard.tensors):
        renamed = _names_after(edits[old]) if old in edits else None
        for name in [old] if renamed is None else renamed:
            if name in names:
                raise CannotFix(f"two tensors would be called {name}")
            names.add(name)


def _shards(
    files: Files, shards: Mapping[str, Shard], edits: Mapping[str, TensorEdit]
) -> Iterator[tuple[str, tuple[Piece, ...]]]:
    for name, shard in shards.items():
        of_shard = [edits[tensor] for tensor in shard.tensors if tensor in edits]
        if of_shard:
            start = min(tensor.start for tensor in shard.tensors.values())
            yield name, rewritten(files.read(name, 0, start), shard.tensors.values(), of_shard)


def _index_edits(
    shards: Mapping[str, Shard], index: WeightIndex, edits: Mapping[str, TensorEdit]
) -> Iterator[JsonEdit]:
    """What keeps the index true: the names in it, in one edit (there may be 90,000), and the size of all tensors."""
    tensors = {tensor.name: tensor for shard in shards.values() for tensor in shard.tensors.values()}
    renamed = {old: names for old, edit in edits.items() if (names := _names_after(edit)) is not None}
    if not renamed.keys().isdisjoint(index.shards):
        new_names = ((name, shard) for old, shard in index.shards.items() for name in renamed.get(old, [old]))
        yield SetJson(INDEX, "/weight_map", dict(new_names))
    if grown := sum(_growth(edit, tensors[edit.tensor]) for edit in edits.values()):
        size = sum(tensor.stop - tensor.start for tensor in tensors.values())
        yield SetJson(INDEX, "/metadata/total_size", size + grown)


def _names_after(edit: TensorEdit) -> list[str] | None:
    """The names that take the place of the tensor's; None where it keeps its own."""
    match edit:
        case DropTensor():
            return []
        case RenameTensor(to=to):
            return [to]
        case SplitTensor(parts=parts):
            return [name for name, _ in parts]
    return None


def _growth(edit: TensorEdit, tensor: Tensor) -> int:
    """By how many bytes the tensors grow."""
    if isinstance(edit, DropTensor):
        return tensor.start - tensor.stop
    return len(edit.rows) * (tensor.stop - tensor.start) // tensor.shape[0] if isinstance(edit, AppendRows) else 0
