"""A checkpoint, a plan that changes it in every way there is, and processes that die in the middle of that.

Every call that changes the disk is a function of `modelcheck.transaction.disk`; `observed` takes their place.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import signal
import stat
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from modelcheck.change import FileChange, Kept, Piece, Seen
from modelcheck.errors import UsageError
from modelcheck.transaction import apply, disk, undo

CALLS = sorted(name for name, f in vars(disk).items() if inspect.isfunction(f) and f.__module__ == disk.__name__)
WRITES = ("write", "pwrite")
ROWS, WIDTH = 16, 64
INDEX, TEMPLATE = "model.safetensors.index.json", "chat_template.jinja"
PAST = 1_600_000_000_000_000_000
Observer = Callable[[str, Callable[..., Any], tuple[Any, ...]], Any]
# (kind, mode bits, mtime or 0 for a folder, content)
Tree = dict[str, tuple[int, int, int, bytes]]


def shard(number: int) -> str:
    return f"model-{number:05}-of-00004.safetensors"


def safetensors(*names: str) -> bytes:
    """A file of int8 matrices."""
    size = ROWS * WIDTH
    at = {name: [i * size, (i + 1) * size] for i, name in enumerate(names)}
    header = json.dumps({n: {"dtype": "I8", "shape": [ROWS, WIDTH], "data_offsets": o} for n, o in at.items()}).encode()
    body = b"".join(hashlib.shake_128(name.encode()).digest(size) for name in names)
    return len(header).to_bytes(8, "little") + header + body


def checkpoint(folder: Path) -> Path:
    """Nine files, of several modes and of different age."""
    weights = {"model.embed": 1, "lm_head": 2, "a": 3, "b": 3, "c": 4, "d": 4}
    total = len(weights) * ROWS * WIDTH
    index = {
        "metadata": {"total_size": total},
        "weight_map": {n: shard(k) for n, k in weights.items()},
    }
    files = {
        "config.json": b'{"architectures": ["LlamaForCausalLM"],\n "pad_token_id": 2, "n\xc3\xa4me": 1e-05}\n',
        TEMPLATE: b"{% for m in messages %}{{ m.content }}{% endfor %}{{ date }}",
        "chat_template.json": b'{"chat_template": "another"}',
        INDEX: json.dumps(index, indent=2).encode(),
        "tokenizer_config.json": b"{}",
        **{shard(k): safetensors(*[n for n, at in weights.items() if at == k]) for k in range(1, 5)},
    }
    folder.mkdir(parents=True, exist_ok=True)
    for age, (name, content) in enumerate(files.items()):
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o600 | age % 4 << 3 | age % 2 << 2)
        os.utime(folder / name, ns=(PAST, PAST + age * 1_000_000_007))
    return folder


def seen(place: Path, *pieces: Piece) -> Seen:
    """What a lint would have noted of a file to which these pieces are to be done."""
    status, content = place.stat(), place.read_bytes()
    found = Seen(status.st_ino, status.st_size, status.st_mtime_ns, "")
    lost = b"".join(content[start:stop] for start, stop in FileChange(place.name, pieces, found).lost())
    return Seen(found.inode, found.size, found.mtime_ns, hashlib.sha256(lost).hexdigest())


def changed(place: Path, *pieces: Piece) -> FileChange:
    return FileChange(place.name, pieces, seen(place, *pieces))


def replaced(place: Path, start: int, stop: int, by: bytes) -> FileChange:
    """One stretch of a file replaced, the rest kept."""
    return changed(place, Kept(0, start), by, Kept(stop, place.stat().st_size))


def removed(place: Path) -> FileChange:
    return FileChange(place.name, None, seen(place))


def rows(place: Path, *numbers: int) -> FileChange:
    """Rows of the first matrix overwritten."""
    size = place.stat().st_size
    with place.open("rb") as file:
        begin = 8 + int.from_bytes(file.read(8), "little")
    pieces: list[Piece] = []
    at = 0
    for number in numbers:
        start = begin + number * WIDTH
        pieces += [Kept(at, start), bytes([number + 1]) * WIDTH]
        at = start + WIDTH
    return changed(place, *pieces, Kept(at, size))


def plan(folder: Path) -> list[FileChange]:
    """JSON, a template, rows in two shards, a header that grows, a tensor cut off, the index, a new and a gone file."""
    config, template, index = (folder / name for name in ("config.json", TEMPLATE, INDEX))
    grown, cut = folder / shard(3), folder / shard(4)
    begin = 8 + int.from_bytes(grown.read_bytes()[:8], "little")
    head = safetensors("c")[: -ROWS * WIDTH]
    start = 8 + int.from_bytes(cut.read_bytes()[:8], "little")
    head = (start - 8).to_bytes(8, "little") + head[8:].ljust(start - 8)
    at = index.read_bytes().index(b'"d"')
    return [
        replaced(config, config.read_bytes().index(b"2,"), config.read_bytes().index(b"2,") + 1, b"31"),
        changed(template, Kept(0, 49), b"\n"),
        rows(folder / shard(1), 3, 4, 9),
        rows(folder / shard(2), 0, 15),
        changed(grown, safetensors("a", "renamed")[: -2 * ROWS * WIDTH], Kept(begin, grown.stat().st_size)),
        changed(cut, head, Kept(start, start + ROWS * WIDTH)),
        replaced(index, at, at + 3, b'"e"'),
        removed(folder / "chat_template.json"),
        FileChange("generation_config.json", (b'{"eos_token_id": ', b"2}"), None),
    ]


def built(folder: Path, changes: list[FileChange]) -> dict[str, bytes]:
    """What the files of a folder are to be, computed in memory."""
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    for change in changes:
        old = files.pop(change.name, b"")
        if change.pieces is not None:
            files[change.name] = b"".join(old[p.start : p.stop] if isinstance(p, Kept) else p for p in change.pieces)
    return files


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder, without its journals."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".modelcheck"}


def tree(folder: Path) -> Tree:
    """Everything below a folder: kinds, mode bits, times of change, bytes and the places that links name."""
    found: Tree = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        mtime = 0 if path.is_dir() else status.st_mtime_ns
        found[str(path.relative_to(folder))] = stat.S_IFMT(status.st_mode), status.st_mode & 0o7777, mtime, content
    return found


@contextmanager
def observed(observer: Observer) -> Iterator[None]:
    """Hand every call that changes the disk to an observer, which makes it or not."""

    def standing_in(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments: observer(name, call, arguments)

    real = {name: getattr(disk, name) for name in CALLS}
    try:
        for name, call in real.items():
            setattr(disk, name, standing_in(name, call))
        yield
    finally:
        for name, call in real.items():
            setattr(disk, name, call)


class Moments:
    """Counts the moments of a run: before, in the middle of (for writes) and after each call. Dies at one of them."""

    def __init__(self, last: int | None = None) -> None:
        self.passed, self.last = 0, last
        self.names: list[str] = []

    def __call__(self, name: str, call: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        self.names.append(name)
        self._pass()
        if name in WRITES:
            descriptor, content, *offset = arguments
            half = len(content) // 2
            call(descriptor, content[:half], *offset)
            self._pass()
            result = call(descriptor, content[half:], *[start + half for start in offset])
        else:
            result = call(*arguments)
        self._pass()
        return result

    def _pass(self) -> None:
        if self.passed == self.last:
            os.kill(os.getpid(), signal.SIGKILL)
        self.passed += 1


def counted(work: Callable[[], object]) -> Moments:
    """Do some work and count its moments."""
    moments = Moments()
    with observed(moments):
        work()
    return moments


def killed_at(moment: int, work: Callable[[], object]) -> None:
    """Do some work in a process of its own, which SIGKILL ends at that moment."""

    def die() -> None:
        with observed(Moments(moment)):
            work()

    assert in_a_child(die) == -signal.SIGKILL


def in_a_child(work: Callable[[], object]) -> int:
    """How a process ends that does some work: 0, the number of a signal below zero, or 1 for an exception."""
    return ended(started(work))


def started(work: Callable[[], object]) -> int:
    """A process that does some work."""
    with warnings.catch_warnings():
        # From 3.12 on, where there are threads. This child only reads and writes.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def apply_plan(folder: Path) -> None:
    apply(folder, plan(folder))


def undoes(folder: Path, expected: Tree) -> None:
    """Undo what there is, and find the folder as it was."""
    undo(folder)
    assert tree(folder) == expected


def refused(folder: Path, changes: list[FileChange], says: str) -> None:
    """The changes are refused with these words, and nothing anywhere near is changed."""
    before = tree(folder.parent)
    with pytest.raises(UsageError, match=says):
        apply(folder, changes)
    assert tree(folder.parent) == before
