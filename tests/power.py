"""What a disk may hold after the power has failed: a record of the calls made on it, and the images they allow.

Pessimistic: content is only there if its file has been fsynced, a name only if every folder that the call touched has.
What was not is there or not, in any combination. A rename is one step, as on every journaling file system.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from crash import contents, observed

from modelcheck.transaction import undo, unfinished
from modelcheck.transaction.journal import HOME, MANIFEST, journals
from modelcheck.transaction.manifest import Entry, NotAManifest, decode, encode

# Up to so many names that are not durable yet, every subset of them is tried.
ALL_SUBSETS = 5
SILENT = {"set_mtime", "set_mode", "take_after", "open_in_place", "open_lock", "left out"}
Files = dict[str, bytes]
Names = list[tuple[int, str, int | None]]


@dataclass
class Node:
    """A file, with its durable content and what has been written since; or a folder, with its durable names."""

    content: bytes = b""
    writes: list[tuple[int, bytes | None]] = field(default_factory=list)  # (offset, bytes), or (size, None): cut off
    names: dict[str, int] | None = None

    @property
    def size(self) -> int:
        return len(written(self.content, self.writes))


def written(content: bytes, writes: Sequence[tuple[int, bytes | None]]) -> bytes:
    for at, piece in writes:
        content = content[:at].ljust(at, b"\0") + (b"" if piece is None else piece + content[at + len(piece) :])
    return content


@dataclass
class State:
    """The disk at one moment. `names` are changes of names that are not durable: which they are, in which folders."""

    nodes: dict[int, Node] = field(default_factory=dict)
    names: list[tuple[Names, set[int]]] = field(default_factory=list)
    root: int = 0


class Recorder:
    """An observer (see `crash.observed`) that follows what is durable, and keeps the state after every call."""

    def __init__(self, folder: Path, left_out: int | None = None) -> None:
        """`left_out` is the number of a fsync that the record takes for not made."""
        self.state, self.left_out, self.syncs = State(), left_out, 0
        self.known: dict[int, int] = {}  # number of the inode on the real disk -> in the record
        self.state.root = self._take(folder)
        self.states = [deepcopy(self.state)]

    def __call__(self, name: str, call: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        first = arguments[0]
        parent = self._number(first.parent) if isinstance(first, Path) and name != "fsync_dir" else 0
        target = self._number(first) if isinstance(first, Path) and os.path.lexists(first) else None
        to = self._number(arguments[1].parent) if name in ("rename", "link") else 0
        if name == "open_lock" and target is None:
            name = "create"
        result = call(*arguments)
        if name in ("fsync", "fsync_dir"):
            self.syncs += 1
            name = "left out" if self.syncs - 1 == self.left_out else name
        match name:
            case "create" | "mkdir":
                number = self._new(first.lstat().st_ino, Node(names={} if name == "mkdir" else None))
                self._rename([(parent, first.name, number)])
            case "write":
                node = self._file(first)
                node.writes.append((node.size, arguments[1]))
            case "pwrite":
                self._file(first).writes.append((arguments[2], arguments[1]))
            case "truncate":
                self._file(first).writes.append((arguments[1], None))
            case "rename":
                self._rename([(to, arguments[1].name, target), (parent, first.name, None)])
            case "link":
                self._rename([(to, arguments[1].name, target)])
            case "unlink" | "rmdir":
                self._rename([(parent, first.name, None)])
            case "fsync":
                node = self._file(first)
                node.content, node.writes = written(node.content, node.writes), []
            case "fsync_dir":
                self._settle(self._number(first))
            case _:
                assert name in SILENT, f"the record does not know what {name} does"
        if name not in ("set_mtime", "set_mode", "take_after"):
            self.states.append(deepcopy(self.state))
        return result

    def _take(self, path: Path) -> int:
        """What was there before, all of it durable."""
        if not path.is_dir():
            return self._new(path.stat().st_ino, Node(path.read_bytes()))
        number = self._new(path.stat().st_ino, Node(names={}))
        self.state.nodes[number].names = {inner.name: self._take(inner) for inner in path.iterdir()}
        return number

    def _new(self, inode: int, node: Node) -> int:
        number = self.known[inode] = len(self.state.nodes) + 1  # the disk gives the inode of a removed file away again
        self.state.nodes[number] = node
        return number

    def _number(self, path: Path) -> int:
        return self.known.get(path.lstat().st_ino, 0)

    def _file(self, descriptor: int) -> Node:
        return self.state.nodes[self.known[os.fstat(descriptor).st_ino]]

    def _rename(self, names: Names) -> None:
        self.state.names.append((names, {folder for folder, _, _ in names}))

    def _settle(self, folder: int) -> None:
        for names, waiting in self.state.names:
            waiting.discard(folder)
            if not waiting:
                put(self.state, names)
        self.state.names = [(names, waiting) for names, waiting in self.state.names if waiting]


def put(state: State, names: Names) -> None:
    for folder, name, number in names:
        there = state.nodes[folder].names
        assert there is not None
        if number is None:
            there.pop(name, None)
        else:
            there[name] = number


Choice = tuple[tuple[int, ...], str]


def choices(state: State) -> list[Choice]:
    """What may have reached the disk of what is not durable: which changes of names, and what of the content."""
    is_written = any(node.writes for node in state.nodes.values())
    return [*product(sorted(_subsets(len(state.names))), ("none", "last", "torn", "all") if is_written else ("none",))]


def image_of(state: State, choice: Choice) -> State:
    """The disk that is found if the power fails in that state."""
    kept, policy = choice
    image = deepcopy(state)
    for number in kept:
        put(image, image.names[number][0])
    for node in image.nodes.values():
        chosen = node.writes if policy == "all" else node.writes[-1:] if policy != "none" else []
        if policy == "torn":
            chosen = [(at, piece and piece[: len(piece) // 2]) for at, piece in chosen]
        node.content, node.writes = written(node.content, chosen), []
    return image


def _subsets(length: int) -> set[tuple[int, ...]]:
    """Of the changes of names, which ones have reached the disk. They have in their order, or in none."""
    if length <= ALL_SUBSETS:
        return {tuple(i for i in range(length) if bits >> i & 1) for bits in range(1 << length)}
    prefixes = {tuple(range(stop)) for stop in range(length + 1)}
    alone = {(i,) for i in range(length)}
    missing = {tuple(i for i in range(length) if i != left_out) for left_out in range(length)}
    return prefixes | alone | missing


def fingerprint(image: State) -> frozenset[tuple[str, int, bytes]]:
    """What tells images apart: paths, which of them are one file, contents."""
    return frozenset((path, number, image.nodes[number].content) for path, number in _paths(image, image.root, ""))


def _paths(image: State, number: int, prefix: str) -> Iterator[tuple[str, int]]:
    for name, inner in (image.nodes[number].names or {}).items():
        yield prefix + name, inner
        yield from _paths(image, inner, f"{prefix}{name}/")


def write_image(image: State, folder: Path, known: dict[int, int]) -> None:
    """Make a folder of an image. `known` is the recorder's: inodes in a manifest become those of this folder."""
    folder.mkdir()
    first: dict[int, Path] = {}
    for path, number in _paths(image, image.root, ""):
        node, place = image.nodes[number], folder / path
        if node.names is not None:
            place.mkdir()
        elif number in first:
            os.link(first[number], place)
        else:
            place.write_bytes(node.content)
            first[number] = place
    inodes = {inode: first[number].stat().st_ino for inode, number in known.items() if number in first}
    for place in folder.glob(f".modelcheck/*/{MANIFEST}"):
        try:
            entries = decode(place.read_bytes())
        except NotAManifest:
            continue
        place.write_bytes(encode([_moved(entry, inodes) for entry in entries]))


def _moved(entry: Entry, inodes: dict[int, int]) -> Entry:
    old, new = (seen and replace(seen, inode=inodes.get(seen.inode, seen.inode)) for seen in (entry.old, entry.new))
    return replace(entry, old=old, new=new)


def without_fsync(name: str, call: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """An observer for folders that need not outlive the test."""
    return None if name in ("fsync", "fsync_dir") else call(*arguments)


def check_images(recorder: Recorder, folder: Path, old: Files, new: Files, every: int = 1) -> tuple[int, int]:
    """From every n-th image that a record allows, undo leaves the old files, and no image passes for what it is not.

    Returns how many there were, and how many distinct ones. `folder` is where they are made.
    """
    allowed = [(state, choice) for state in recorder.states for choice in choices(state)][::every]
    distinct = set()
    for state, choice in allowed:
        image = image_of(state, choice)
        if (print_ := fingerprint(image)) in distinct:
            continue
        distinct.add(print_)
        write_image(image, folder, recorder.known)
        if not unfinished(folder):
            assert contents(folder) == (new if journals(folder) else old)
        with observed(without_fsync):
            undo(folder)
        assert contents(folder) == old
        assert not (folder / HOME).exists()
        shutil.rmtree(folder)
    return len(allowed), len(distinct)
