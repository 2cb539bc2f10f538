"""Edits of tensors against the safetensors library: what we write is what it would save after the same edit."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.torch import load, save_file

from modelcheck.change import FileChange, Kept, Seen
from modelcheck.edit import AppendRows, DropTensor, Edit, RenameTensor, SetRows, SplitTensor, TensorEdit
from modelcheck.facts.files import Files
from modelcheck.facts.tensors import shards
from modelcheck.facts.weight_index import weight_index
from modelcheck.fixer import CannotFix
from modelcheck.mending.compiled import changes, contents
from modelcheck.mending.tensor_edit import stored
from modelcheck.names import INDEX, SINGLE
from modelcheck.sources.local import LocalFolder
from modelcheck.sources.planned import Planned

Tensors = dict[str, torch.Tensor]
DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32, "F64": torch.float64}
NUMBERS = st.floats(-1e4, 1e4, width=32)


def model(shapes: Mapping[str, Sequence[int]], dtype: torch.dtype = torch.float32) -> Tensors:
    """Tensors of the numbers 0, 1, 2 ..., no two with the same content."""
    made, start = {}, 0
    for name, shape in shapes.items():
        count = int(np.prod(shape))
        made[name] = torch.arange(start, start + count).reshape(tuple(shape)).to(dtype)
        start += count
    return made


def planned(folder: Path, edits: Sequence[Edit]) -> list[FileChange]:
    """What the edits make of the files of a folder."""
    own = LocalFolder(folder)
    files = Files(own)
    index = weight_index(files) if INDEX in files else None
    facts: Any = {"files": files, "weight_index": index, "shards": shards(files, index)}
    if index is None:
        facts = Facts(facts)
    return changes(contents(edits, facts), files, own.status)


class Facts(dict[str, Any]):
    """Facts of a checkpoint without an index, which says so as the real fact does."""

    def __getitem__(self, name: str) -> Any:
        value = super().__getitem__(name)
        return weight_index(self["files"]) if value is None else value


def after(folder: Path, edits: Sequence[Edit]) -> dict[str, bytes]:
    """{file: content} once the edits are carried out."""
    source = Planned(LocalFolder(folder), planned(folder, edits))
    return {name: source.read(name, 0, size) for name, size in source.sizes().items()}


def expected(tensors: Tensors, edits: Sequence[TensorEdit]) -> Tensors:
    """The same edits made in memory."""
    made = dict(tensors)
    for edit in edits:
        old = made.pop(edit.tensor)
        match edit:
            case RenameTensor(to=to):
                made[to] = old
            case SplitTensor(parts=parts):
                pieces = torch.split(old, [rows for _, rows in parts])
                made |= {name: piece for (name, _), piece in zip(parts, pieces, strict=True)}
            case AppendRows(rows=rows):
                made[edit.tensor] = torch.cat([old, torch.from_numpy(rows).to(old.dtype)])
            case SetRows(rows=rows):
                made[edit.tensor] = old.clone()
                for row, values in rows.items():
                    made[edit.tensor][row] = torch.from_numpy(values).to(old.dtype)
    return made


def same(one: Tensors, other: Tensors) -> bool:
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype
        and one[name].shape == other[name].shape
        and one[name].contiguous().view(torch.uint8).equal(other[name].contiguous().view(torch.uint8))
        for name in one
    )


@st.composite
def rows_of(draw: st.DrawFn, width: int) -> NDArray[np.float32]:
    return np.array(draw(st.lists(NUMBERS, min_size=width, max_size=width)), np.float32)


@st.composite
def checkpoints(draw: st.DrawFn) -> tuple[Tensors, list[TensorEdit]]:
    """Matrices of several types and one edit for some of them; new names may be longer or shorter than the old."""
    dtype = st.sampled_from(list(DTYPES.values()))
    sizes = st.tuples(st.integers(1, 5), st.integers(1, 4))
    names = st.text("abcλ._0", min_size=1, max_size=30)
    tensors = {
        name: torch.randn(size, generator=torch.Generator().manual_seed(i)).to(draw(dtype))
        for i, (name, size) in enumerate(draw(st.dictionaries(names, sizes, min_size=1, max_size=6)).items())
    }
    edits: list[TensorEdit] = []
    for i, (name, tensor) in enumerate(tensors.items()):
        rows, width = tensor.shape
        match draw(st.sampled_from(["keep", "set", "append", "rename", "split", "drop"])):
            case "set":
                ids = draw(st.sets(st.integers(0, rows - 1), min_size=1))
                edits.append(SetRows(name, {row: draw(rows_of(width)) for row in ids}))
            case "append":
                edits.append(AppendRows(name, np.stack([draw(rows_of(width)) for _ in range(draw(st.integers(1, 3)))])))
            case "rename":
                edits.append(RenameTensor(name, draw(names) + f"!{i}"))
            case "split" if rows > 1:
                edits.append(SplitTensor(name, ((f"{name}/{i}/1", 1), (f"{name}/{i}/2", rows - 1))))
            case "drop" if len(tensors) > 1 and i:
                edits.append(DropTensor(name))
    return tensors, edits


@given(checkpoints())
@settings(max_examples=80, deadline=None)
def test_the_result_is_what_the_library_saves_after_the_same_edits(
    tmp_path_factory: pytest.TempPathFactory, checkpoint: tuple[Tensors, list[TensorEdit]]
) -> None:
    tensors, edits = checkpoint
    folder = tmp_path_factory.mktemp("model")
    save_file(tensors, folder / SINGLE, {"format": "pt"})
    result = after(folder, edits)[SINGLE]
    assert same(load(result), expected(tensors, edits))
    header = json.loads(result[8 : 8 + int.from_bytes(result[:8], "little")])
    assert header["__metadata__"] == {"format": "pt"}


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1), st.sampled_from(["BF16", "F16", "F32", "F64"]))
def test_numbers_are_rounded_as_torch_rounds_them(numbers: list[float], dtype: str) -> None:
    values = np.array(numbers, np.float32)
    with np.errstate(over="ignore"):
        ours = stored(values, dtype)
    assert ours == torch.from_numpy(values).to(DTYPES[dtype]).view(torch.uint8).numpy().tobytes()


class TestHowAFileIsWritten:
    """What can be patched in place, and what needs a new file."""

    shapes = {"first": (4, 3), "second": (4, 3), "third": (4, 3)}

    def change(self, tmp_path: Path, *edits: TensorEdit) -> FileChange:
        save_file(model(self.shapes), tmp_path / SINGLE)
        [change] = planned(tmp_path, edits)
        return change

    def test_rows_are_patched_where_they_lie_and_nothing_else_is_written(self, tmp_path: Path) -> None:
        new = np.ones(3, np.float32)
        change = self.change(tmp_path, SetRows("second", {1: new, 3: new}))
        assert change.patches is not None
        assert [len(content) for _, content in change.patches] == [12, 12]
        old = (tmp_path / SINGLE).read_bytes()
        for offset, content in change.patches:
            old = old[:offset] + content + old[offset + len(content) :]
        assert load(old)["second"].tolist() == [[12, 13, 14], [1, 1, 1], [18, 19, 20], [1, 1, 1]]

    def test_neighbouring_rows_are_one_patch(self, tmp_path: Path) -> None:
        new = np.ones(3, np.float32)
        change = self.change(tmp_path, SetRows("first", {0: new, 1: new, 2: new}))
        assert change.patches is not None
        assert [len(content) for _, content in change.patches] == [36]

    def test_a_name_that_is_no_longer_is_changed_in_the_header_alone(self, tmp_path: Path) -> None:
        change = self.change(tmp_path, RenameTensor("second", "2nd"))
        header = int.from_bytes((tmp_path / SINGLE).read_bytes()[:8], "little")
        assert change.patches is not None
        [(offset, content)] = change.patches
        assert (offset, len(content)) == (0, 8 + header)

    def test_a_header_that_grows_needs_a_new_file(self, tmp_path: Path) -> None:
        change = self.change(tmp_path, RenameTensor("second", "second" * 9))
        assert change.patches is None
        assert change.size > (tmp_path / SINGLE).stat().st_size

    def test_the_last_tensor_is_cut_off(self, tmp_path: Path) -> None:
        change = self.change(tmp_path, DropTensor("third"))
        assert change.patches is not None
        assert change.size == (tmp_path / SINGLE).stat().st_size - 48

    def test_one_in_the_middle_needs_a_new_file_without_a_hole(self, tmp_path: Path) -> None:
        change = self.change(tmp_path, DropTensor("second"))
        assert change.patches is None
        assert next(piece for piece in change.pieces or () if isinstance(piece, Kept)).stop < change.size

    def test_what_is_lost_is_what_the_change_does_not_keep(self, tmp_path: Path) -> None:
        change = self.change(tmp_path, SetRows("first", {0: np.ones(3, np.float32)}))
        assert isinstance(change.seen, Seen)
        [(start, stop)] = change.lost()
        assert stop - start == 12


class TestRefusals:
    def test_two_tensors_of_one_name(self, tmp_path: Path) -> None:
        save_file(model({"a": (2, 2), "b": (2, 2)}), tmp_path / SINGLE)
        with pytest.raises(CannotFix, match="two tensors would be called b"):
            planned(tmp_path, [RenameTensor("a", "b")])

    def test_two_tensors_of_one_name_in_two_shards(self, tmp_path: Path) -> None:
        sharded(tmp_path, {"1.safetensors": {"a": (2, 2)}, "2.safetensors": {"b": (2, 2)}})
        with pytest.raises(CannotFix, match="two tensors would be called b"):
            planned(tmp_path, [RenameTensor("a", "b")])

    def test_rows_that_are_packed(self, tmp_path: Path) -> None:
        save_file({"a": torch.zeros(2, 2, dtype=torch.int8)}, tmp_path / SINGLE)
        with pytest.raises(CannotFix, match="stored as I8"):
            planned(tmp_path, [SetRows("a", {0: np.ones(2, np.float32)})])

    def test_parts_that_are_not_the_whole(self, tmp_path: Path) -> None:
        save_file(model({"a": (5, 2)}), tmp_path / SINGLE)
        with pytest.raises(CannotFix, match="has 5 rows, its parts have 4"):
            planned(tmp_path, [SplitTensor("a", (("b", 2), ("c", 2)))])


def sharded(folder: Path, shapes: Mapping[str, Mapping[str, Sequence[int]]]) -> Tensors:
    """A checkpoint of several shards with its index, written to the folder."""
    tensors = model({name: shape for shard in shapes.values() for name, shape in shard.items()})
    for shard, of_shard in shapes.items():
        save_file({name: tensors[name] for name in of_shard}, folder / shard, {"format": "pt"})
    document = {
        "metadata": {"total_parameters": 7, "total_size": sum(t.nbytes for t in tensors.values())},
        "weight_map": {name: shard for shard, of_shard in shapes.items() for name in of_shard},
    }
    (folder / INDEX).write_text(json.dumps(document, indent=2) + "\n")
    return tensors


@pytest.mark.parametrize(
    "edits",
    [
        [RenameTensor("b.weight", "c.weight"), SplitTensor("z.weight", (("x", 1), ("y", 3)))],
        [DropTensor("b.weight")],
        [AppendRows("z.weight", np.ones((2, 3), np.float32)), DropTensor("a.weight")],
        [SetRows("z.weight", {0: np.ones(3, np.float32)}), SetRows("a.weight", {0: np.ones(3, np.float32)})],
    ],
)
def test_the_index_is_kept_true_over_two_shards(tmp_path: Path, edits: list[TensorEdit]) -> None:
    shapes = {"1.safetensors": {"a.weight": (4, 3), "b.weight": (2, 3)}, "2.safetensors": {"z.weight": (4, 3)}}
    tensors = sharded(tmp_path, shapes)
    result = after(tmp_path, edits)
    loaded = {name: load(result[name]) for name in shapes}
    assert same(loaded["1.safetensors"] | loaded["2.safetensors"], expected(tensors, edits))
    index = json.loads(result[INDEX])
    assert index["weight_map"] == {name: shard for shard, of_shard in loaded.items() for name in of_shard}
    size = sum(t.nbytes for of_shard in loaded.values() for t in of_shard.values())
    assert index["metadata"] == {"total_parameters": 7, "total_size": size}
    assert {c.name for c in planned(tmp_path, edits)} >= {
        next(s for s, n in shapes.items() if e.tensor in n) for e in edits
    }


def test_other_lines_of_the_index_keep_their_bytes(tmp_path: Path) -> None:
    sharded(tmp_path, {"1.safetensors": {"a": (4, 3), "b": (2, 3)}, "2.safetensors": {"z": (4, 3)}})
    old = (tmp_path / INDEX).read_text()
    new = after(tmp_path, [RenameTensor("b", "c")])[INDEX].decode()
    assert new == old.replace('"b": ', '"c": ')


def test_only_the_shard_that_is_edited_is_written(tmp_path: Path) -> None:
    sharded(tmp_path, {"1.safetensors": {"a": (4, 3)}, "2.safetensors": {"b": (4, 3)}})
    changed = planned(tmp_path, [SetRows("b", {0: np.ones(3, np.float32)})])
    assert [change.name for change in changed] == ["2.safetensors"]


def test_a_file_without_padding_or_metadata_is_edited_too(tmp_path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]}}).encode()
    body = np.array([1, 2], np.float32).tobytes()
    (tmp_path / SINGLE).write_bytes(len(header).to_bytes(8, "little") + header + body)
    result = after(tmp_path, [RenameTensor("a", "an_even_longer_name")])[SINGLE]
    assert load(result)["an_even_longer_name"].tolist() == [[1], [2]]
