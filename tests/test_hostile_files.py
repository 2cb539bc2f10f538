"""Files made to crash, fool or exhaust the reader: each ends in a finding that names the file, never in a traceback.

Within five seconds and a gigabyte, which the heavy ones show in a process of their own.
"""

from __future__ import annotations

import ctypes
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import modelcheck
from modelcheck import tiny
from modelcheck.finding import Finding
from modelcheck.testing import write_overlay

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
JSON_FILES = ("config.json", "generation_config.json", "tokenizer_config.json", "tokenizer.json")
SECONDS, KILOBYTES = 5, 1 << 20
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:0123456789abcdef\nsize 4400000000\n"


def broken(folder: Path) -> list[Finding]:
    """What malformed-file says of a folder; every other rule is on, too."""
    [report] = modelcheck.lint(folder)
    assert report.internal == []
    return [f for f in report.findings if f.slug == "malformed-file"]


def broken_with(folder: Path, name: str, content: bytes) -> Finding:
    """The one finding on the tiny checkpoint with one file replaced. It names that file."""
    (write_overlay(folder, {}) / name).write_bytes(content)
    [finding] = broken(folder)
    assert finding.file == name
    return finding


# A process inherits the peak of memory of the one that starts it: this one is small, and asks about its child.
MEASURED = """
import json, resource, subprocess, sys
subprocess.call(sys.argv[2:])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
open(sys.argv[1], "w").write(json.dumps([used.ru_utime + used.ru_stime, used.ru_maxrss]))
"""


def in_a_process(folder: Path, *options: str) -> dict[str, Any]:
    """The report of `modelcheck lint` on a folder, held to time, memory and a quiet standard error."""
    command = [sys.executable, "-m", "modelcheck", "lint", str(folder), "--format", "json", *options]
    started = time.monotonic()
    with tempfile.NamedTemporaryFile("r") as measured:
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, measured.name, *command], capture_output=True, check=True
        )
        seconds, kilobytes = json.load(measured)
    assert done.stderr == b""
    [target] = json.loads(done.stdout)["targets"]
    assert target["internal"] == []
    # Its own work, not what else this machine does.
    assert seconds < SECONDS
    assert time.monotonic() - started < 4 * SECONDS
    assert kilobytes < KILOBYTES
    return dict(target)


def named(target: Mapping[str, Any], file: str) -> str:
    """The message of the one finding that malformed-file has, which names the file."""
    [finding] = [f for f in target["findings"] if f["slug"] == "malformed-file"]
    assert finding["file"] == file
    return str(finding["message"])


# -- safetensors ------------------------------------------------------------------------------------------------------


def safetensors(header: object, body: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def entry(dtype: object = "F32", shape: object = (2,), offsets: object = (0, 8)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def one(**fields: object) -> bytes:
    return safetensors({"x": entry(**fields)}, bytes(8))


DEEP = b"[" * 200_000
BAD_WEIGHTS = {
    "empty": (b"", "is empty"),
    "truncated-length": (b"\x08\0\0", "is 3 bytes"),
    "truncated-header": (safetensors({"x": entry()})[:30], "truncated"),
    "truncated-body": (safetensors({"x": entry()}, bytes(5)), "is truncated"),
    "length-2^63": (safetensors({}, length=1 << 63), "announces a header of 9223372036854775808 bytes"),
    "length-beyond-file": (safetensors({}, length=1000), "announces a header of 1000 bytes"),
    "trailing-bytes": (safetensors({"x": entry()}, bytes(20)), "12 bytes after its last tensor"),
    "overlap": (safetensors({"x": entry(), "y": entry(offsets=(4, 12))}, bytes(12)), "overlaps"),
    "hole": (safetensors({"x": entry(), "y": entry(offsets=(12, 20))}, bytes(20)), "leaves a hole"),
    "negative-shape": (one(shape=[-2]), "not whole numbers"),
    "boolean-shape": (one(shape=[True, 2]), "not whole numbers"),
    "boolean-offsets": (one(offsets=[False, 8]), "not whole numbers"),
    "float-shape": (one(shape=[2.0]), "not whole numbers"),
    "object-shape": (one(shape={}), "not whole numbers"),
    "string-shape": (one(shape="ab"), "not whole numbers"),
    "null-shape": (one(shape=None), "not whole numbers"),
    "giant-integer": (one(shape=[10**4000]), "not whole numbers"),
    "product-overflows": (one(shape=[1 << 40, 1 << 40]), "takes"),
    "five-thousand-digits": (safetensors(b'{"x":' + b"9" * 5000 + b"}"), "not JSON"),
    "thousand-dimensions": (one(shape=[1] * 1000), "not whole numbers"),
    "wrong-size": (one(shape=[3]), "takes 12 bytes"),
    "three-offsets": (one(offsets=[0, 4, 8]), "lacks"),
    "backward-offsets": (one(offsets=[8, 0]), "takes 8 bytes"),
    "unknown-dtype": (one(dtype="F33"), "dtype 'F33'"),
    "list-dtype": (one(dtype=["F32"]), "dtype ['F32']"),
    "entry-is-a-list": (safetensors({"x": [1]}), "lacks"),
    "entry-is-null": (safetensors({"x": None}), "lacks"),
    "header-is-a-list": (safetensors([]), "expected an object"),
    "header-is-no-json": (safetensors(b"not json"), "not JSON"),
    "not-utf-8": (safetensors(b'{"\xff": 1}'), "not JSON"),
    "duplicate-keys": (safetensors(b'{"x": 1, "x": 2}'), "names 'x' twice"),
    "nested": (safetensors(DEEP), "nested too deeply"),
    "lfs-pointer": (LFS.encode(), "git-LFS pointer"),
    "a-pickle": (b"\x80\x02" + bytes(100), "truncated or not safetensors"),
}


@pytest.mark.parametrize(("content", "message"), BAD_WEIGHTS.values(), ids=BAD_WEIGHTS)
def test_weights_that_the_format_forbids(tmp_path: Path, content: bytes, message: str) -> None:
    assert message in broken_with(tmp_path, WEIGHTS, content).message


def test_a_million_empty_tensors(tmp_path: Path) -> None:
    """What the safetensors library takes four seconds and a gigabyte for."""
    names = ",".join(f'"{i:x}":{{"dtype":"I8","shape":[0],"data_offsets":[0,0]}}' for i in range(1_000_000))
    (write_overlay(tmp_path, {}) / WEIGHTS).write_bytes(safetensors(f"{{{names}}}".encode()))
    assert "header of 5" in named(in_a_process(tmp_path), WEIGHTS)


def test_as_many_empty_tensors_as_fit_the_limit(tmp_path: Path) -> None:
    names = ",".join(f'"{i:x}":{{"dtype":"I8","shape":[0],"data_offsets":[0,0]}}' for i in range(140_000))
    (write_overlay(tmp_path, {}) / WEIGHTS).write_bytes(safetensors(f"{{{names}}}".encode()))
    assert in_a_process(tmp_path)["skipped"]


def test_fifty_megabytes_of_metadata(tmp_path: Path) -> None:
    header = {"__metadata__": {"x": "y" * (50 << 20)}}
    (write_overlay(tmp_path, {}) / WEIGHTS).write_bytes(safetensors(header))
    assert "header of 52 MB" in named(in_a_process(tmp_path), WEIGHTS)


def test_a_tensor_of_exabytes_is_not_believed(tmp_path: Path) -> None:
    shape = [1 << 40, 1 << 20]
    content = safetensors({"model.embed_tokens.weight": entry("BF16", shape, [0, 2 << 60])})
    assert "is truncated" in broken_with(tmp_path, WEIGHTS, content).message


def test_a_row_as_wide_as_a_disk(tmp_path: Path) -> None:
    """A sparse file of 200 GB that holds what its header says: one embedding of two rows."""
    size = 200 << 30
    content = safetensors({"model.embed_tokens.weight": entry("BF16", [2, size // 4], [0, size])})
    weights = write_overlay(tmp_path, {"model.safetensors": "null"}) / WEIGHTS
    weights.write_bytes(content)
    os.truncate(weights, len(content) + size)
    target = in_a_process(tmp_path)
    assert "expected rows and columns" in json.dumps(target["skipped"])


# -- the index --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "weight_map", [None, [], "x", 1, True, {"x": None}, {"x": 1}, {"x": ["a"]}, {"x": {}}, {"x": False}]
)
def test_an_index_of_wrong_types(tmp_path: Path, weight_map: object) -> None:
    finding = broken_with(tmp_path, INDEX, json.dumps({"weight_map": weight_map}).encode())
    assert "expected" in finding.message


def test_an_index_with_as_many_escapes_as_it_can_hold(tmp_path: Path) -> None:
    weight_map = {f"{i}": f"../{i}" for i in range(500_000)}
    write_overlay(tmp_path, {INDEX: json.dumps({"weight_map": weight_map})})
    [finding] = [f for f in in_a_process(tmp_path)["findings"] if f["severity"] == "error"]
    assert finding["slug"] == "index-escapes-folder"


# -- JSON -------------------------------------------------------------------------------------------------------------

BAD_JSON = {
    "empty": (b"", "is empty"),
    "blank": (b" \n", "is empty"),
    "truncated": (b'{"a": [1, 2', ""),
    "not-utf-8": (b'{"a": "\xff\xfe"}', "is not UTF-8: byte 7 is 0xff"),
    "utf-16": ("{}".encode("utf-16"), "is not UTF-8"),
    "byte-order-mark": (b"\xef\xbb\xbf{}", ""),
    "nested-lists": (DEEP, ""),
    "nested-objects": (b'{"a":' * 100_000, ""),
    "lfs-pointer": (LFS.encode(), "git-LFS pointer"),
    "nul-bytes": (bytes(64), ""),
    "html": (b"<!DOCTYPE html><html>404</html>", ""),
    "a-list": (b"[]", ""),
    "a-string": (b'"x"', ""),
    "null": (b"null", ""),
    "a-number": (b"1e999", ""),
    "too-many-digits": (b'{"vocab_size": ' + b"9" * 5000 + b"}", ""),
    "crowded": (b'{"a": [' + b",".join([b"[]"] * 2_000_000) + b"]}", "million JSON elements"),
}


@pytest.mark.parametrize("name", JSON_FILES)
@pytest.mark.parametrize(("content", "message"), BAD_JSON.values(), ids=BAD_JSON)
def test_json_that_is_none(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    assert message in broken_with(tmp_path, name, content).message


@pytest.mark.parametrize("name", [*JSON_FILES, "chat_template.jinja", INDEX])
def test_a_file_of_200_megabytes(tmp_path: Path, name: str) -> None:
    path = write_overlay(tmp_path, {}) / name
    path.touch()
    os.truncate(path, 200 << 20)
    assert "is 210 MB" in named(in_a_process(tmp_path), name)


def test_json_that_grows_when_it_is_parsed(tmp_path: Path) -> None:
    content = b'{"added_tokens": [' + b",".join([b"[]"] * 900_000) + b'], "model": {}}'
    (write_overlay(tmp_path, {}) / "tokenizer.json").write_bytes(content)
    assert in_a_process(tmp_path)["findings"]


# -- a tokenizer on which the Rust parser panics ----------------------------------------------------------------------

PANICS: dict[str, dict[str, object]] = {
    "while-it-is-read": {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}},
    "while-it-encodes": {
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "absent", "type_id": 0}}],
            "pair": [],
            "special_tokens": {},
        }
    },
}


@pytest.mark.parametrize("change", PANICS.values(), ids=PANICS)
def test_a_panic_is_a_bad_file(tmp_path: Path, change: dict[str, object]) -> None:
    write_overlay(tmp_path, {"tokenizer.json": json.dumps(change)})
    assert "the tokenizers library" in named(in_a_process(tmp_path), "tokenizer.json")


def test_a_tokenizer_that_knows_no_letter_is_no_bad_file(tmp_path: Path) -> None:
    words = {"type": "WordLevel", "vocab": {"<|im_end|>": 3}, "unk_token": "[UNK]"}
    document = json.loads(tiny.tokenizer_json()) | {"model": words}
    (write_overlay(tmp_path, {}) / "tokenizer.json").write_text(json.dumps(document))
    assert broken(tmp_path) == []


# -- what is no file --------------------------------------------------------------------------------------------------


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


NO_FILES: dict[str, Callable[[Path], None]] = {
    "loop": loop,
    "dangling": dangling,
    "endless": endless,
    "pipe": os.mkfifo,
}


@pytest.mark.parametrize("name", [*JSON_FILES, WEIGHTS, INDEX, "chat_template.jinja", "special_tokens_map.json"])
@pytest.mark.parametrize("make", NO_FILES.values(), ids=NO_FILES)
def test_what_is_no_file(tmp_path: Path, name: str, make: Callable[[Path], None]) -> None:
    path = write_overlay(tmp_path, {}) / name
    path.unlink(missing_ok=True)
    make(path)
    [finding] = broken(tmp_path)
    assert finding.file == name
    assert "cannot be read" in finding.message


def without_override() -> None:
    """Take root's right to read every file from the program that is about to run (PR_CAPBSET_DROP)."""
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="drops a capability of Linux")
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", WEIGHTS])
def test_no_permission_to_read(tmp_path: Path, name: str) -> None:
    (write_overlay(tmp_path, {}) / name).chmod(0)
    command = [sys.executable, "-m", "modelcheck", "lint", str(tmp_path), "--format", "json"]
    answer = subprocess.run(command, capture_output=True, preexec_fn=without_override, check=False)
    [target] = json.loads(answer.stdout)["targets"]
    assert target["internal"] == []
    assert named(target, name) == "cannot be read: Permission denied"


@pytest.mark.skipif(sys.platform != "linux", reason="drops a capability of Linux")
def test_no_permission_to_enter_the_folder(tmp_path: Path) -> None:
    write_overlay(tmp_path, {}).chmod(0)
    command = [sys.executable, "-m", "modelcheck", "lint", str(tmp_path)]
    answer = subprocess.run(command, capture_output=True, text=True, preexec_fn=without_override, check=False)
    tmp_path.chmod(0o755)
    assert answer.returncode == 2
    assert f"{tmp_path}: Permission denied" in answer.stdout + answer.stderr


# -- any JSON value anywhere ------------------------------------------------------------------------------------------

numbers = st.integers() | st.integers(-3, 400) | st.floats() | st.sampled_from([10**30, -(10**30), 2**32, 2**63])
texts = st.text(max_size=6) | st.sampled_from(
    [*tiny.SPECIAL, "\ud800", "\0", "{{ messages }}", "{%", "../x", "float16"]
)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


def places(document: object, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    """The path of every value in a document, large containers by their first few items."""
    items: list[tuple[Any, Any]] = []
    if isinstance(document, dict):
        items = list(document.items())[:40]
    elif isinstance(document, list):
        items = list(enumerate(document))[:7]
    return [path, *(found for key, value in items for found in places(value, (*path, key)))]


def replaced(document: Any, path: tuple[Any, ...], value: object) -> Any:
    if not path:
        return value
    copy = document.copy()
    copy[path[0]] = replaced(document[path[0]], path[1:], value)
    return copy


EXTRA: dict[str, object] = {
    "special_tokens_map.json": {
        "eos_token": {"content": "<|im_end|>"},
        "additional_special_tokens": ["<|reserved_0|>"],
    },
    INDEX: {"metadata": {"total_size": 1}, "weight_map": {"model.norm.weight": WEIGHTS}},
    "added_tokens.json": {"<|im_end|>": 3},
    "pytorch_model.bin.index.json": {"weight_map": {"model.norm.weight": WEIGHTS}},
    "chat_template.json": {"chat_template": tiny.TEMPLATE},
}
DOCUMENTS: dict[str, Any] = {name: json.loads(tiny.files()[name]) for name in JSON_FILES} | EXTRA
DOCUMENTS["config.json"]["text_config"] = {"vocab_size": 320, "eos_token_id": [3]}
DOCUMENTS["tokenizer_config.json"] |= {
    "added_tokens_decoder": {"3": {"content": "<|im_end|>", "special": True}},
    "additional_special_tokens": ["<|reserved_0|>"],
    "extra_special_tokens": {"image": "<|reserved_1|>"},
    "chat_template": [{"name": "default", "template": tiny.TEMPLATE}],
}
PLACES = {name: places(document) for name, document in DOCUMENTS.items()}


@st.composite
def mutations(draw: st.DrawFn) -> dict[str, str]:
    """{file name: text} of a few of the documents, each with one value replaced."""
    names = draw(st.lists(st.sampled_from(sorted(DOCUMENTS)), min_size=1, max_size=3, unique=True))
    changes = {name: (draw(st.sampled_from(PLACES[name])), draw(values)) for name in names}
    return {name: json.dumps(replaced(DOCUMENTS[name], *change)) for name, change in changes.items()}


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(mutations())
def test_any_value_anywhere(files: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = write_overlay(Path(name), {WEIGHTS: "null"} if INDEX in files else {})
        for file, text in files.items():
            (folder / file).write_text(text)
        [report] = modelcheck.lint(folder)
    assert report.internal == []
    assert report.error is None
