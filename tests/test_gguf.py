"""A GGUF is linted as the files it was converted from: the same rules, the same findings, its own names for places."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from gguf import GGMLQuantizationType as Packing
from gguf_files import tensors, write
from support import run

import modelcheck
from modelcheck import Finding, tiny
from modelcheck.facts.tokenizer import load
from modelcheck.report import TargetReport
from modelcheck.sources.gguf import GgufFile
from modelcheck.sources.gguf_header import Array

NO_NAMES = "the names of the tensors are not those that transformers saves; no layer lacks what the others have"


def lint(path: Path, **options: Any) -> TargetReport:
    [report] = modelcheck.lint(path, **options)
    assert (report.error, report.internal) == (None, [])
    return report


def placed(findings: list[Finding]) -> list[tuple[str, str | None, str | None]]:
    return [(f.slug, f.file, f.at) for f in findings]


@pytest.mark.parametrize("packing", [Packing.F32, Packing.F16, Packing.BF16, Packing.Q8_0])
def test_a_healthy_one_has_no_findings_however_its_rows_are_stored(tmp_path: Path, packing: Packing) -> None:
    report = lint(write(tmp_path / "tiny.gguf", packing=packing), weights="full")
    assert report.findings == []
    assert [(s.slug, s.reason) for s in report.skipped] == [("missing-tensor", NO_NAMES)]


FAULTS: Mapping[str, tuple[dict[str, Any], tuple[str, str]]] = {
    "pad is eos": ({"tokenizer.ggml.padding_token_id": 3}, ("pad-is-eos", "tokenizer.ggml.padding_token_id")),
    "pad is beyond the rows": ({"tokenizer.ggml.padding_token_id": 999},
                               ("pad-out-of-range", "tokenizer.ggml.padding_token_id")),
    "the template's end is no stop": ({"tokenizer.ggml.eos_token_id": 4, "tokenizer.chat_template":
                                       tiny.TEMPLATE.replace("<|im_end|>", "<|reserved_1|>")},
                                      ("terminator-not-eos", "tokenizer.ggml.eos_token_id")),
    "two bos": ({"tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.add_bos_token": True,
                 "tokenizer.chat_template": "<|bos|>" + tiny.TEMPLATE}, ("double-bos", "tokenizer.chat_template")),
    "fewer rows than tokens": ({"llama.vocab_size": 321}, ("vocab-size-rows", "llama.vocab_size")),
}  # fmt: skip


@pytest.mark.parametrize(("keys", "expected"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_found_and_placed_by_the_key_of_the_gguf(
    tmp_path: Path, keys: dict[str, Any], expected: tuple[str, str]
) -> None:
    slug, key = expected
    found = lint(write(tmp_path / "tiny.gguf", keys)).findings
    assert (slug, "tiny.gguf", key) in placed(found)
    assert {f.slug for f in found if f.severity is modelcheck.Severity.ERROR} <= {slug}


@pytest.mark.parametrize("packing", [Packing.F16, Packing.Q8_0])
def test_untrained_rows_are_found_in_the_packed_matrix(tmp_path: Path, packing: Packing) -> None:
    weights = tensors()
    weights["token_embd.weight"][[2, 100]] = 0
    found = lint(write(tmp_path / "tiny.gguf", weights=weights, packing=packing)).findings
    assert {("untrained-rows", "tiny.gguf", "token_embd.weight"),
            ("untrained-token-used", "tiny.gguf", "token_embd.weight")} <= set(placed(found))  # fmt: skip


def test_rows_in_other_packings_could_not_be_checked_which_is_said(tmp_path: Path) -> None:
    report = lint(write(tmp_path / "tiny.gguf", packing=Packing.Q4_0), weights="full")
    reasons = {s.slug: s.reason for s in report.skipped}
    assert report.findings == []
    assert reasons["untrained-rows"].startswith("model.embed_tokens.weight is quantised ('Q4_0')")
    assert reasons["missing-tensor"] == "model.embed_tokens.weight is stored quantised"


def test_a_layer_that_lacks_a_tensor_is_found_by_the_others(tmp_path: Path) -> None:
    weights = tensors()
    blocks = {name: values for name, values in weights.items() if name.startswith("blk.0.")}
    for number in range(2, 6):
        weights |= {name.replace("blk.0.", f"blk.{number}."): values for name, values in blocks.items()}
    del weights["blk.3.attn_k.weight"]
    [finding] = lint(write(tmp_path / "tiny.gguf", {"llama.block_count": 6}, weights)).findings
    assert (finding.slug, finding.at) == ("missing-tensor", "blk.3.attn_k.weight")


def test_one_of_sentencepiece_without_scores_could_not_be_checked_and_its_special_tokens_are(tmp_path: Path) -> None:
    keys = {"tokenizer.ggml.model": "llama", "tokenizer.ggml.merges": None, "tokenizer.ggml.padding_token_id": 3}
    report = lint(write(tmp_path / "tiny.gguf", keys))
    reasons = {s.reason for s in report.skipped if s.slug == "id-exceeds-rows"}
    assert [f.slug for f in report.findings] == ["pad-is-eos"]
    [reason] = reasons
    assert reason.startswith("no tokenizer.json can be made of this GGUF's tokenizer, only of a known byte-level BPE")


def test_the_tokenizer_gives_the_ids_of_the_one_that_was_converted(tmp_path: Path) -> None:
    source = GgufFile(write(tmp_path / "tiny.gguf"))
    made = load("tokenizer.json", source.read("tokenizer.json", 0, source.sizes()["tokenizer.json"]).decode())
    original = load("tokenizer.json", tiny.tokenizer_json())
    for text in ("the model reads a text", "<|im_start|>user\n42 Größe<|im_end|>\n", "  \t\n\n x"):
        assert made.encode(text) == original.encode(text)


def test_ends_by_text_count_as_stops_where_the_template_has_them(tmp_path: Path) -> None:
    # llama.cpp ends at <|im_end|> whatever the metadata says.
    assert lint(write(tmp_path / "tiny.gguf", {"tokenizer.ggml.eos_token_id": 4})).findings == []


def test_arrays_are_not_decoded_before_a_rule_asks(tmp_path: Path) -> None:
    source = GgufFile(write(tmp_path / "tiny.gguf"))
    assert set(source.sizes()) == {"config.json", "tokenizer_config.json", "tokenizer.json", "model.safetensors"}
    arrays = [value for value in source._values.values() if isinstance(value, Array)]
    assert arrays
    assert not any("values" in vars(array) for array in arrays)


def test_a_folder_that_holds_only_a_gguf_is_linted_as_it(tmp_path: Path) -> None:
    write(tmp_path / "tiny.gguf", {"tokenizer.ggml.padding_token_id": 3})
    (tmp_path / "README.md").write_text("a model")
    result = run("lint", str(tmp_path), "--format", "json")
    [target] = json.loads(result.stdout)["targets"]
    assert (result.code, target["source"]) == (1, "gguf")
    assert [(f["slug"], f["file"]) for f in target["findings"]] == [("pad-is-eos", "tiny.gguf")]


def test_of_several_one_is_to_be_named(tmp_path: Path) -> None:
    write(tmp_path / "a.gguf"), write(tmp_path / "b.gguf")
    result = run("lint", str(tmp_path))
    assert (result.code, f"name the one to lint, such as {tmp_path / 'a.gguf'}" in result.stdout) == (2, True)


def test_a_split_model_needs_all_its_parts(tmp_path: Path) -> None:
    weights = list(tensors().items())
    first = write(tmp_path / "m-00001-of-00002.gguf", weights=dict(weights[:9]))
    assert "m-00002-of-00002.gguf is not beside it" in run("lint", str(first)).stdout
    second = write(tmp_path / "m-00002-of-00002.gguf", dict.fromkeys(("tokenizer.chat_template",)), dict(weights[9:]))
    for target in (first, second, tmp_path):
        assert lint(target).findings == []


def test_it_cannot_be_a_base_of_training(tmp_path: Path) -> None:
    lora = tmp_path / "adapter_config.json"
    lora.write_text("{}")
    result = run("lint", str(write(tmp_path / "tiny.gguf")), "--lora", str(lora))
    assert (result.code, "a GGUF is not trained" in result.stdout) == (2, True)


def test_without_the_package_the_line_to_install_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelcheck.sources.gguf.find_spec", lambda name: None)
    [report] = modelcheck.lint(write(tmp_path / "tiny.gguf"))
    assert report.error is not None
    assert report.error.endswith("reading a GGUF needs the gguf package: pip install 'modelcheck[gguf]'")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    for name, words in {"pipe.gguf": "is no GGUF file", "none.gguf": "no such file"}.items():
        [report] = modelcheck.lint(tmp_path / name)
        assert words in (report.error or "")


def test_a_name_like_that_of_a_part_of_nothing(tmp_path: Path) -> None:
    assert lint(write(tmp_path / "m-00001-of-00000.gguf")).findings == []
