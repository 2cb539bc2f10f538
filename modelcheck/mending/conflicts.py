"""Which edits cannot both be carried out."""

from __future__ import annotations

from collections.abc import Sequence

from modelcheck.edit import AddToList, DropFile, DropJson, Edit, JsonEdit, Note, SetRows, WriteFile


def same(one: Edit, other: Edit) -> bool:
    """Whether the second asks for nothing that the first does not do already."""
    if isinstance(one, SetRows) and isinstance(other, SetRows):
        return one.tensor == other.tensor and (
            one.rows is other.rows
            or all(row in one.rows and bool((one.rows[row] == values).all()) for row, values in other.rows.items())
        )
    return one == other


def conflict(one: Edit, other: Edit) -> bool:
    """Whether the result would depend on their order, or one would undo the other."""
    if isinstance(one, Note) or isinstance(other, Note) or same(one, other):
        return False
    if isinstance(one, JsonEdit) and isinstance(other, JsonEdit):
        lists = isinstance(one, AddToList) and isinstance(other, AddToList) and one.at == other.at
        return one.file == other.file and not lists and _overlap(one, other)
    if isinstance(one, (JsonEdit, WriteFile, DropFile)) and isinstance(other, (JsonEdit, WriteFile, DropFile)):
        return one.file == other.file
    if isinstance(one, (JsonEdit, WriteFile, DropFile)) or isinstance(other, (JsonEdit, WriteFile, DropFile)):
        return False
    if isinstance(one, SetRows) and isinstance(other, SetRows):
        return one.tensor == other.tensor and any(
            row in one.rows and not bool((one.rows[row] == values).all()) for row, values in other.rows.items()
        )
    return one.tensor == other.tensor


def first_conflict(edits: Sequence[Edit], others: Sequence[Edit]) -> tuple[Edit, Edit] | None:
    """The first pair, of one from each, that cannot both be carried out."""
    return next(((a, b) for a in edits for b in others if conflict(a, b)), None)


def _overlap(one: JsonEdit, other: JsonEdit) -> bool:
    if one.at == other.at:
        return True
    inside = one.at.startswith(f"{other.at}/") or other.at.startswith(f"{one.at}/")
    # Members of an array move up when one of them goes.
    siblings = one.at.rpartition("/")[0] == other.at.rpartition("/")[0]
    numbered = one.at.rpartition("/")[2].isdigit() and isinstance(one, DropJson) | isinstance(other, DropJson)
    return inside or (siblings and numbered)
