"""The traps of the rules on weights, and what they must say of hard cases."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import found, severities

import modelcheck
from modelcheck import tiny
from modelcheck.finding import Finding
from modelcheck.testing import lint_overlay, write_overlay

EMBEDDING = "model.embed_tokens.weight"
PAD, BOS, START, END, SPARE, OTHER = range(6)
INDEX = "model.safetensors.index.json"


def rows(**fills: object) -> dict[str, object]:
    """Changed rows of the embedding: rows(START="zeros")."""
    return {EMBEDDING: {str(globals()[name]): fill for name, fill in fills.items()}}


class TestUntrainedTokenUsed:
    def used(self, **options: object) -> list[Finding]:
        return found("untrained-token-used", **options)

    def test_a_base_model_with_an_instruct_template(self) -> None:
        findings = self.used(tensors=rows(START="zeros", END="zeros"))
        assert severities(findings) == ["error", "error"]
        end, start = (f.message for f in findings)
        assert "'<|im_start|>' (id 2) is in use (written by the chat template (tokenizer_config.json))" in start
        assert "eos_token in tokenizer_config.json" in end
        assert "norm 0, the median is 0.399" in start
        assert "modules_to_save" in start

    def test_a_row_that_equals_another(self) -> None:
        [finding] = self.used(tensors=rows(START=END + 97))
        assert "is bit-identical to" in finding.message
        assert "(id 100)" in finding.message

    @pytest.mark.parametrize("role", ["unk_token", "mask_token", "cls_token", "sep_token", "bos_token", "pad_token"])
    def test_a_token_that_is_only_named_is_harmless(self, role: str) -> None:
        options = {"tokenizer_config": {role: "<|reserved_0|>"}, "tensors": rows(SPARE="zeros", PAD="zeros")}
        assert not self.used(**options)

    def test_a_pad_that_is_also_a_further_stop_id_is_harmless(self) -> None:
        """Qwen lists its pad among the stop ids; torch leaves the row of a padding index at zero."""
        stops = {"generation_config": {"eos_token_id": [END, PAD]}}
        assert not self.used(**stops, tensors=rows(PAD="zeros"))
        assert self.used(generation_config={"eos_token_id": [END, SPARE]}, tensors=rows(SPARE="zeros"))

    def test_a_bos_that_encoding_really_adds(self) -> None:
        processor = {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<|bos|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<|bos|>": {"id": "<|bos|>", "ids": [1], "tokens": ["<|bos|>"]}},
        }
        [finding] = self.used(tokenizer={"post_processor": processor}, tensors=rows(BOS="zeros"))
        assert "put around every text by tokenizer.json" in finding.message

    def test_a_token_that_only_a_switch_brings_up(self) -> None:
        template = tiny.TEMPLATE + "{%- if enable_thinking %}{{- '<|reserved_1|>' }}{%- endif %}"
        [finding] = self.used(tokenizer_config={"chat_template": template}, tensors=rows(OTHER="zeros"))
        assert "'<|reserved_1|>'" in finding.message

    def test_rows_of_padding_are_never_read(self) -> None:
        embedding = {EMBEDDING: ["F32", [384, tiny.HIDDEN], "normal"], "lm_head.weight": None}
        assert not self.used(
            tensors=embedding, generation_config={"eos_token_id": [3, 350]}, config={"vocab_size": 384}
        )


class TestStopIds:
    def stops(self, ids: list[int], **tokenizer: object) -> list[str]:
        options = {"generation_config": {"eos_token_id": ids}, "tensors": rows(SPARE="zeros")}
        return severities(found("untrained-token-used", tokenizer_config=tokenizer, **options))

    def test_the_only_stop_id_of_a_chat_model_is_dead(self) -> None:
        assert self.stops([SPARE], eos_token=None) == ["error"]

    def test_a_dead_stop_id_beside_a_living_one(self) -> None:
        assert self.stops([END, SPARE]) == ["warning"]

    def test_a_base_model(self) -> None:
        assert self.stops([SPARE], eos_token=None, chat_template=None) == ["info"]


class TestUntrainedRows:
    def test_every_test_names_its_tokens(self) -> None:
        findings = found("untrained-rows", tensors={EMBEDDING: {"4": "zeros", "300": 301}})
        assert severities(findings) == ["info", "info"]
        assert "1 of 320 rows" in findings[0].message
        assert "'<|reserved_0|>' (id 4)" in findings[0].message
        assert "in groups of 2" in findings[1].message

    def test_padding_is_told_apart(self) -> None:
        [finding] = found("untrained-rows", tensors={EMBEDDING: ["F32", [384, tiny.HIDDEN], "ones"]})
        assert "64 padding rows beyond the tokenizer's ids" in finding.message

    def test_works_by_ids_without_a_tokenizer(self) -> None:
        overlay = {"tokenizer.json": "null", "tokenizer_config.json": "null"}
        [report] = lint_overlay({**overlay, "tensors.json": json.dumps({EMBEDDING: {"4": "zeros"}})})
        [finding] = [f for f in report.findings if f.slug == "untrained-rows"]
        assert ": id 4;" in finding.message

    def test_nothing_is_read_when_no_weights_are_asked_for(self) -> None:
        [report] = lint_overlay({}, weights="none")
        assert {"untrained-rows", "untrained-token-used"} <= {s.slug for s in report.skipped}


class TestVocabSizeRows:
    def wrong(self, **options: object) -> list[Finding]:
        return found("vocab-size-rows", **options)

    def test_the_text_config_counts_and_the_root_may_count_something_else(self) -> None:
        assert not self.wrong(config={"vocab_size": 2051, "text_config": {"vocab_size": 320}})
        [finding] = self.wrong(config={"text_config": {"vocab_size": 321}})
        assert finding.at == "/text_config/vocab_size"

    def test_an_embedding_of_each_layer_is_another_matter(self) -> None:
        per_layer = {"model.embed_tokens_per_layer.weight": ["F32", [99, 4], "normal"]}
        assert not self.wrong(tensors=per_layer, config={"vocab_size_per_layer_input": 99})

    def test_an_encoder_and_a_decoder_may_have_a_vocabulary_each(self) -> None:
        assert not self.wrong(config={"vocab_size": 7, "is_encoder_decoder": True})

    def test_a_packed_embedding_has_other_rows(self) -> None:
        assert not self.wrong(tensors={EMBEDDING: ["I32", [2560, 1], "ones"]})

    def test_no_vocab_size_is_no_fault(self) -> None:
        assert not self.wrong(config={"vocab_size": None})

    def test_other_towers_have_embeddings_of_their_own(self) -> None:
        assert not self.wrong(tensors={"audio_tower.embed_tokens.weight": ["F32", [9, 4], "normal"]})

    def test_neither_the_renderer_nor_the_tokenizer_is_needed(self, tmp_path: Path) -> None:
        broken = {"tokenizer.json": "[", "tokenizer_config.json": "[", "config.json": '{"vocab_size": 9}'}
        write_overlay(tmp_path, broken)
        [report] = modelcheck.lint(tmp_path, select=["vocab-size-rows"])
        assert [f.slug for f in report.findings] == ["vocab-size-rows"]


class TestShardMissing:
    def sharded(self, folder: Path, shards: dict[str, str], weight_map: dict[str, str]) -> list[Finding]:
        """Lint the tiny checkpoint, its weights under other names; `shards` are {name: content or empty for real}."""
        weights = write_overlay(folder, {INDEX: json.dumps({"weight_map": weight_map})}) / "model.safetensors"
        for name, content in shards.items():
            (folder / name).write_bytes(content.encode() or weights.read_bytes())
        weights.unlink()
        [report] = modelcheck.lint(folder)
        assert report.internal == []
        return [f for f in report.findings if f.slug == "shard-missing"]

    def test_names_the_shard_and_counts_its_tensors(self, tmp_path: Path) -> None:
        weight_map = {"model.norm.weight": "a.safetensors", "x": "b.safetensors", "y": "b.safetensors"}
        [finding] = self.sharded(tmp_path, {"a.safetensors": ""}, weight_map)
        assert "'b.safetensors', 1 of the 2 shards" in finding.message
        assert "2 of its 3 tensors" in finding.message

    def test_a_tensor_that_no_shard_holds(self, tmp_path: Path) -> None:
        weight_map = {"model.norm.weight": "a.safetensors", "model.absent.weight": "a.safetensors"}
        [finding] = self.sharded(tmp_path, {"a.safetensors": ""}, weight_map)
        assert "in no shard: 'model.absent.weight', 1 of the 2 tensors" in finding.message

    def test_a_git_lfs_pointer_is_in_the_folder(self, tmp_path: Path) -> None:
        pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
        assert not self.sharded(tmp_path, {"a.safetensors": pointer}, {"model.norm.weight": "a.safetensors"})

    def test_a_stale_index_beside_the_single_file(self) -> None:
        assert not found("shard-missing", **{INDEX.removesuffix(".json"): {"weight_map": {"x": "b.safetensors"}}})

    def test_pickled_shards_are_counted_too(self) -> None:
        overlay = {"model.safetensors": "null", "pytorch_model.bin.index.json": '{"weight_map": {"x": "a.bin"}}'}
        assert "shard-missing" in {f.slug for f in lint_overlay(overlay).errors}
        report = lint_overlay({**overlay, "a.bin": "pickle"})
        assert not report.errors

    def test_a_folder_of_metadata_alone(self) -> None:
        overlay = {"model.safetensors": "null", INDEX: '{"weight_map": {"x": "a.safetensors"}}'}
        [report] = lint_overlay(overlay, weights="none")
        assert "shard-missing" in {s.slug for s in report.skipped}
        assert not report.findings


class TestIndexEscapesFolder:
    @pytest.mark.parametrize(
        "name",
        ["../secret.safetensors", "/etc/passwd", "sub/a.safetensors", "sub\\a.safetensors", "C:\\a", "C:a", "a\0b",
         "..", "", ".", "./a.safetensors", "//host/share/a", "\\\\host\\share\\a", "a/../../b", "sub/"],
    )  # fmt: skip
    def test_every_way_out_is_named(self, name: str) -> None:
        for file in (INDEX, "pytorch_model.bin.index.json"):
            options = {file.removesuffix(".json"): {"weight_map": {"x": name}}}
            [finding] = found("index-escapes-folder", **options)
            assert finding.file == file
            assert finding.at == "/weight_map/x"

    @pytest.mark.parametrize(
        "name", ["model.safetensors", "model-00001-of-00002.safetensors", "..a", "a..b", "мир.bin"]
    )
    def test_a_file_name_is_a_file_name(self, name: str) -> None:
        assert not found("index-escapes-folder", **{INDEX.removesuffix(".json"): {"weight_map": {"x": name}}})

    def test_a_file_outside_is_never_opened(self, tmp_path: Path) -> None:
        secret = tmp_path / "secret.safetensors"
        secret.write_bytes(b"\xff" * 64)
        weight_map = {EMBEDDING: "../secret.safetensors"}
        folder = tmp_path / "checkpoint"
        write_overlay(folder, {"model.safetensors": "null", INDEX: json.dumps({"weight_map": weight_map})})
        accessed = secret.stat().st_atime_ns
        secret.chmod(0)
        report = modelcheck.lint(folder)
        assert {f.slug for f in report.errors} == {"index-escapes-folder"}
        assert "secret" not in " ".join(s.reason for target in report for s in target.skipped)
        assert secret.stat().st_atime_ns == accessed

    def linked(self, folder: Path, place: Path) -> list[str]:
        write_overlay(folder, {INDEX: '{"weight_map": {"model.norm.weight": "a.safetensors"}}'})
        place.parent.mkdir(parents=True, exist_ok=True)
        (folder / "model.safetensors").rename(place)
        (folder / "a.safetensors").symlink_to(place)
        return [f.slug for f in modelcheck.lint(folder).errors]

    def test_a_link_out_of_the_folder(self, tmp_path: Path) -> None:
        assert self.linked(tmp_path / "checkpoint", tmp_path / "elsewhere" / "x") == ["index-escapes-folder"]

    def test_a_link_inside_the_folder(self, tmp_path: Path) -> None:
        assert self.linked(tmp_path, tmp_path / "b.safetensors") == []

    def test_the_cache_of_the_hub_links_to_its_own_blobs(self, tmp_path: Path) -> None:
        repository = tmp_path / "models--a--b"
        assert self.linked(repository / "snapshots" / "0123", repository / "blobs" / "abcd") == []

    def test_the_blobs_of_another_repository_are_not_its_own(self, tmp_path: Path) -> None:
        blob = tmp_path / "models--c--d" / "blobs" / "abcd"
        assert self.linked(tmp_path / "models--a--b" / "snapshots" / "0123", blob) == ["index-escapes-folder"]
