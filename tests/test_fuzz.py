"""Files mutated at random, from real ones: every lint ends, without an internal error, and most mutants are read.

A fixed sample by default; the full grid, 10,000 of each kind, is `slow`.
"""

from __future__ import annotations

import json
import random
import re
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from modelcheck import packs, tiny
from modelcheck.engine import Options, lint_source
from modelcheck.render.renderer import Renderer

SAMPLE, GRID, SECONDS = 60, 10_000, 5.0
CORPUS = Path(__file__).parents[2] / "shared" / "corpus"
TEMPLATES = Path(__file__).parent / "templates"
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
BYTE_LEVEL = ("add_prefix_space", "trim_offsets", "use_regex")
LEAVES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**64,
    1e308,
    "",
    "x",
    "../x",
    "<|im_end|>",
    "\ud800",
    "\x00",
    [],
    {},
    [[]],
)


class Bytes:
    """A checkpoint held in memory."""

    kind = "folder"
    absent: Mapping[str, str] = {}

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = files

    def sizes(self) -> Mapping[str, int]:
        return {name: len(content) for name, content in self.files.items()}

    def outside(self, name: str) -> str | None:
        return None

    def shown(self, name: str) -> str:
        return name

    def read(self, name: str, start: int, stop: int) -> bytes:
        return self.files[name][start:stop]

    def stream(self, name: str, start: int, stop: int, chunk: int) -> Iterator[memoryview]:
        for at in range(start, stop, chunk):
            yield memoryview(self.files[name])[at : min(at + chunk, stop)]


def mutated(document: Any, draw: random.Random) -> Any:
    """A copy with one to three places changed: a value replaced, a member dropped, doubled or moved."""
    document = json.loads(json.dumps(document))
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        places = list(_places(document))
        if not places:
            break
        holder, key = draw.choice(places)
        change = draw.randrange(5)
        if change == 0:
            del holder[key]
        elif change == 1 and isinstance(holder, list):
            holder.insert(key, holder[key])
        elif change == 2:
            other_holder, other_key = draw.choice(places)
            holder[key] = json.loads(json.dumps(other_holder[other_key]))
        elif change == 3 and isinstance(holder[key], str):
            holder[key] = scrambled(holder[key].encode("utf-8", "replace"), draw).decode("utf-8", "replace")
        else:
            holder[key] = draw.choice(LEAVES)
    return document


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in list(items):
        yield value, key
        yield from _places(item)


def scrambled(content: bytes, draw: random.Random, times: tuple[int, ...] = (1, 1, 2, 4)) -> bytes:
    """Bytes flipped, cut out, doubled or inserted."""
    data = bytearray(content)
    for _ in range(draw.choice(times)):
        at, span = draw.randrange(len(data) + 1), draw.randrange(1, 9)
        change = draw.randrange(4)
        if change == 0 and at < len(data):
            data[at] = draw.randrange(256)
        elif change == 1:
            del data[at : at + span]
        elif change == 2:
            data[at:at] = data[at : at + span]
        else:
            data[at:at] = bytes(draw.randrange(32, 127) for _ in range(span))
    return bytes(data)


def _json_file(name: str, real: Callable[[], list[Any]]) -> Callable[[random.Random], dict[str, bytes]]:
    def mutant(draw: random.Random) -> dict[str, bytes]:
        content = json.dumps(mutated(draw.choice(real()), draw)).encode()
        return {name: scrambled(content, draw) if draw.random() < 0.15 else content}

    return mutant


@cache
def _configs() -> list[Any]:
    found = [json.loads(path.read_text()) for path in sorted(CORPUS.glob("configs/*.json"))[:40]]
    return [*found, tiny.CONFIG]


def _header(draw: random.Random) -> dict[str, bytes]:
    content = tiny.files()[SINGLE]
    length = int.from_bytes(content[:8], "little")
    header = json.dumps(_plausible(json.loads(content[8 : 8 + length]), draw)).encode()
    header = scrambled(header, draw) if draw.random() < 0.1 else header
    stated = draw.choice((len(header),) * 9 + (draw.getrandbits(64),))
    return {SINGLE: struct.pack("<Q", stated) + header + content[8 + length :]}


def _plausible(header: dict[str, Any], draw: random.Random) -> Any:
    # Half of the mutants break the format; the other half keep it and say something else with it.
    if draw.random() < 0.5:
        return mutated(header, draw)
    names = [name for name in header if name != "__metadata__"]
    name = draw.choice(names)
    entry = header.pop(name)
    shape = entry["shape"]
    entry["shape"] = draw.choice((shape, shape[::-1], [*shape, 1], [1, *shape]))
    new = draw.choice((name, name.upper(), f"base_model.{name}", "lm_head.weight", "", "a" * 300, "ü\u2028"))
    return {**header, new: entry}


def _index(draw: random.Random) -> dict[str, bytes]:
    weight_map = {name: draw.choice(("a.safetensors", "b.safetensors", SINGLE)) for name in tiny.tensors()}
    document = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    shards = {"a.safetensors": tiny.files()[SINGLE], SINGLE: b""} if draw.random() < 0.5 else {SINGLE: b""}
    return {INDEX: json.dumps(mutated(document, draw)).encode(), **shards}


LITERAL = re.compile(rb"'([^'\\\n]*)'")


def _template(draw: random.Random) -> dict[str, bytes]:
    paths = [*sorted(TEMPLATES.glob("*.jinja")), *sorted(CORPUS.glob("templates/*.jinja"))]
    content = draw.choice(paths).read_bytes()
    literals = list(LITERAL.finditer(content))
    if not literals or draw.random() < 0.5:
        return {"chat_template.jinja": scrambled(content, draw, times=(1,))}
    # The other half keeps the format, and a text in it is another.
    one = draw.choice(literals)
    new = draw.choice((b"", b"user", b"{{", b"\\n", b"<|im_end|>", b"a" * 300, "ü\u2028".encode()))
    return {"chat_template.jinja": content[: one.start(1)] + new + content[one.end(1) :]}


def _tokenizer(draw: random.Random) -> dict[str, bytes]:
    document = json.loads(tiny.tokenizer_json())
    if draw.random() < 0.35:
        document = mutated(document, draw)
    else:  # what the library accepts: other flags, ids and texts of added tokens, other parts of the pipeline
        token = draw.choice(document["added_tokens"])
        flag = draw.choice(("special", "normalized", "lstrip", "rstrip", "single_word"))
        token[flag] = not token[flag]
        document["normalizer"] = draw.choice(
            (None, {"type": "NFC"}, {"type": "Lowercase"}, {"type": "Strip", "left": 1})
        )
        document["post_processor"] = draw.choice(
            (None, {"type": "ByteLevel"} | dict.fromkeys(BYTE_LEVEL, draw.random() < 0.5))
        )
        document["truncation"] = draw.choice(
            (None, {"max_length": 1, "strategy": "LongestFirst", "stride": 0, "direction": "Right"})
        )
    content = json.dumps(document).encode()
    return {"tokenizer.json": scrambled(content, draw) if draw.random() < 0.1 else content}


KINDS: dict[str, Callable[[random.Random], dict[str, bytes]]] = {
    "safetensors header": _header,
    "index.json": _index,
    "tokenizer.json": _tokenizer,
    "config.json": _json_file("config.json", _configs),
    "template": _template,
}


class Remembering(Renderer):
    """Renders a template once, however many mutants of other files come with it."""

    def __init__(self) -> None:
        super().__init__()
        self._answers: dict[str, dict[str, Any]] = {}

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        key = json.dumps(request)
        if key not in self._answers:
            self._answers[key] = super()._ask(request)
        return self._answers[key]


def fuzz(kind: str, count: int) -> float:
    """Lint so many mutants. The share of them whose file was read, not refused."""
    checks, given = Options().checks(), Options().given()
    assert packs.load().checks
    read = 0
    with Remembering() if kind != "template" else Renderer() as renderer:
        for seed in range(count):
            changed = KINDS[kind](random.Random(f"{kind} {seed}"))
            files = {name: content for name, content in {**tiny.files(), **changed}.items() if content}
            started = time.perf_counter()
            report = lint_source(kind, Bytes(files), checks, {**given, "renderer": renderer}, pedantic=True)
            assert report.internal == [], (kind, seed)
            assert time.perf_counter() - started < SECONDS, (kind, seed)
            refused = {f.file for f in report.findings if f.slug in ("malformed-file", "template-broken")}
            read += not refused & set(changed)
    return read / count


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample(kind: str) -> None:
    assert fuzz(kind, SAMPLE) > 0.15


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_grid(kind: str, record_property: Callable[[str, object], None]) -> None:
    share = fuzz(kind, GRID)
    record_property("figure", f"{kind}: {share:.0%} of {GRID} mutants get past the parser")
    assert share >= 0.3
