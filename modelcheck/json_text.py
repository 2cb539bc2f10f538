"""JSON as text: where a value stands, and changes of single values that leave every other byte as it is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

DECODER = json.JSONDecoder()
SPACE = re.compile(r"[ \t\r\n]*")
ESCAPE = re.compile(r"\\u[0-9a-fA-F]{4}")


@dataclass(frozen=True, slots=True)
class Member:
    """One member of an object or array: [start, value) is its key and colon, [value, stop) its value."""

    key: str
    start: int
    value: int
    stop: int


def keys(pointer: str) -> list[str]:
    """The keys of a JSON pointer (RFC 6901), unescaped."""
    return [key.replace("~1", "/").replace("~0", "~") for key in pointer.split("/")[1:]]


def pointer(*path: str | int) -> str:
    """The JSON pointer of a path of keys."""
    return "".join("/" + str(key).replace("~", "~0").replace("/", "~1") for key in path)


def pointer_offset(text: str, at: str) -> int:
    """Where the value that a JSON pointer names begins. A key that is absent gives the object without it.

    Raises ValueError where the text is no JSON.
    """
    offset = _skip(text, 0)
    for key in keys(at):
        member = _member(text, offset, key)
        if member is None:
            return offset
        offset = member.value
    return offset


def set_value(text: str, at: str, value: Any) -> str:
    """The text with one value set; a member that is not there is added, with the objects on the way to it.

    Raises ValueError where the text is no JSON, KeyError where the way leads through something that is no object.
    """
    path, offset = keys(at), _skip(text, 0)
    for depth, key in enumerate(path):
        member = _member(text, offset, key)
        if member is None:
            for missing in reversed(path[depth + 1 :]):
                value = {missing: value}
            return _insert(text, offset, key, value)
        offset = member.value
    stop = DECODER.raw_decode(text, offset)[1]
    return text[:offset] + _dump(text, value, _line_indent(text, offset)) + text[stop:]


def drop_value(text: str, at: str) -> str:
    """The text without one member of an object or array, however often an object names it.

    Raises KeyError where there is none, ValueError as above.
    """
    *path, last = keys(at)
    offset = _skip(text, 0)
    for key in path:
        offset = _require(text, offset, key).value
    members = list(_members(text, offset))
    found = _require(text, offset, last)
    if found.stop != members[-1].stop:
        after = next(m for m in members if m.start > found.start)
        text = text[: found.start] + text[after.start :]
    else:
        before = members[-2].stop if len(members) > 1 else offset + 1
        rest = _skip(text, found.stop) if len(members) == 1 else found.stop
        text = text[:before] + text[rest:]
    # Parsers take the last of several: with that gone, an earlier one would come to life.
    return drop_value(text, at) if [m.key for m in members].count(last) > 1 else text


def add_to_list(text: str, at: str, value: Any) -> str:
    """The text with a value appended to a list. A single value becomes the first of the list; none, the only one."""
    path, offset = keys(at), _skip(text, 0)
    for key in path:
        member = _member(text, offset, key)
        if member is None:
            return set_value(text, at, [value])
        offset = member.value
    old = DECODER.raw_decode(text, offset)[0]
    if not isinstance(old, list):
        return set_value(text, at, [value] if old is None else [old, value])
    return set_value(text, at, [value]) if not old else _insert(text, offset, None, value)


def _insert(text: str, offset: int, key: str | None, value: Any) -> str:
    """A new member of the object or array at `offset`: where its key belongs if the keys are sorted, else last."""
    if text[offset] != ("{" if key is not None else "["):
        raise KeyError(key)
    members = list(_members(text, offset))
    names = [m.key for m in members]
    if not members:
        stop = DECODER.raw_decode(text, offset)[1]
        return text[:offset] + _dump(text, {key: value}, _line_indent(text, offset)) + text[stop:]
    between = text[offset + 1 : members[0].start]  # the line break and indent that stand before each member
    indent = between.rpartition("\n")[2] if "\n" in between else None
    head = "" if key is None else _dump(text, key, None) + _colon(text, members[0])
    new = head + _dump(text, value, indent)
    after = next((m for m in members if key is not None and m.key > key), None)
    if after and names == sorted(names) and len(names) > 1:
        return text[: after.start] + new + "," + (between if indent is not None else " ") + text[after.start :]
    last = members[-1].stop
    return text[:last] + "," + (between if indent is not None else " ") + new + text[last:]


def _colon(text: str, member: Member) -> str:
    """How this file writes the colon between key and value."""
    return text[DECODER.raw_decode(text, member.start)[1] : member.value]


def _dump(text: str, value: Any, indent: str | None) -> str:
    """A value in the manner of the file: its indent, its line ends, its spelling of other alphabets."""
    plain = bool(ESCAPE.search(text)) and text.isascii()
    if not isinstance(value, (dict, list)) or not value or indent is None or "\n" not in text:
        return json.dumps(value, ensure_ascii=plain)
    step = _step(text)
    if isinstance(value, list) and not any(isinstance(item, (dict, list)) for item in value) and _flat_lists(text):
        return json.dumps(value, ensure_ascii=plain)
    lines = json.dumps(value, indent=step, ensure_ascii=plain)
    return lines.replace("\n", ("\r\n" if "\r\n" in text else "\n") + indent)


def _flat_lists(text: str) -> bool:
    """Whether the file writes its lists on one line."""
    return bool(re.search(r"\[[^\[\]{}\n]+\]", text)) and not re.search(r"\[[ \t\r]*\n", text)


def _step(text: str) -> str:
    """The indent of one level."""
    found = re.search(r"[{\[]\r?\n([ \t]+)", text)
    return found[1] if found else "  "


def _line_indent(text: str, offset: int) -> str:
    line = text[text.rfind("\n", 0, offset) + 1 : offset]
    return line[: len(line) - len(line.lstrip(" \t"))]


def _require(text: str, offset: int, key: str) -> Member:
    member = _member(text, offset, key)
    if member is None:
        raise KeyError(key)
    return member


def _member(text: str, offset: int, key: str) -> Member | None:
    """The member of that name; the last one where a name stands twice, as parsers take it."""
    found = None
    for member in _members(text, offset):
        if member.key == key:
            found = member
    return found


def _members(text: str, offset: int) -> Iterator[Member]:
    """The members of the object or array that begins at `offset`, in order; none for any other value."""
    opening, offset = text[offset], _skip(text, offset + 1)
    index = 0
    while opening in "{[" and text[offset] not in "}]":
        start, name = offset, str(index)
        if opening == "{":
            name, offset = DECODER.raw_decode(text, offset)
            offset = _skip(text, _skip(text, offset) + 1)
        value = offset
        _, offset = DECODER.raw_decode(text, offset)
        yield Member(name, start, value, offset)
        offset = _skip(text, offset)
        offset, index = _skip(text, offset + (text[offset] == ",")), index + 1


def _skip(text: str, offset: int) -> int:
    match = SPACE.match(text, offset)
    end = match.end() if match else offset
    if end >= len(text):
        raise ValueError("the JSON ends early")
    return end
