"""The checks inside a trainer: live transformers objects are seen as they would be saved."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

import modelcheck
from modelcheck.checks.tokenizer import double_bos, pad_is_eos, special_token_unknown
from modelcheck.checks.weights import untrained_rows
from modelcheck.testing import write_overlay


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_overlay(tmp_path_factory.mktemp("live"), {})


@pytest.fixture
def tokenizer(folder: Path) -> Any:
    return PreTrainedTokenizerFast.from_pretrained(folder)


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)


def test_an_empty_list_is_healthy_for_path_and_objects(folder: Path, tokenizer: Any, model: Any) -> None:
    assert pad_is_eos(folder) == []
    assert pad_is_eos(str(folder)) == []
    assert pad_is_eos(tokenizer=tokenizer, model=model) == []


def test_changes_made_in_memory_are_seen(tokenizer: Any) -> None:
    assert not pad_is_eos(tokenizer=tokenizer)
    tokenizer.pad_token = tokenizer.eos_token
    assert pad_is_eos(tokenizer=tokenizer)
    assert pad_is_eos(processing_class=tokenizer)


def test_a_whole_lint_of_live_objects(tokenizer: Any, model: Any) -> None:
    healthy = modelcheck.lint(tokenizer=tokenizer, model=model)
    assert healthy.findings == []
    healthy.raise_for_errors()
    tokenizer.pad_token = tokenizer.eos_token
    report = modelcheck.lint(tokenizer=tokenizer, model=model)
    assert [f.slug for f in report.errors] == ["pad-is-eos"]
    with pytest.raises(modelcheck.FindingsError, match="TOK001 pad-is-eos"):
        report.raise_for_errors()


def test_live_weights_are_read_as_the_file_they_would_be_saved_as(tokenizer: Any, folder: Path) -> None:
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        model.model.embed_tokens.weight[4] = 0
    [finding] = untrained_rows(model=model, tokenizer=tokenizer)
    assert "<|reserved_0|>" in finding.message


def test_rendered_rows_that_the_trainer_will_encode_again_are_an_error(tokenizer: Any) -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer._tokenizer.post_processor = TemplateProcessing(single="<|bos|> $A", special_tokens=[("<|bos|>", 1)])
    rows = [{"text": "<|bos|><|im_start|>user\nhello<|im_end|>\n"}]
    [finding] = double_bos(tokenizer=tokenizer, train_dataset=rows)
    assert str(finding.severity) == "error"
    assert double_bos(tokenizer=tokenizer, train_dataset=[{"text": "hello"}]) == []
    assert double_bos(tokenizer=tokenizer, train_dataset=[{"messages": []}]) == []


def test_what_was_not_passed_is_named(tokenizer: Any, model: Any) -> None:
    with pytest.raises(TypeError, match="pass model="):
        untrained_rows(tokenizer=tokenizer)
    with pytest.raises(TypeError, match="pass either"):
        pad_is_eos()
    with pytest.raises(TypeError, match="did you mean 'tokenizer'"):
        pad_is_eos(tokeniser=tokenizer)  # type: ignore[call-arg]
    with pytest.raises(modelcheck.UsageError, match="has no save_pretrained"):
        pad_is_eos(tokenizer="gpt2")
    report = modelcheck.lint(tokenizer=tokenizer)
    assert "pass model=" in {s.slug: s.reason for t in report for s in t.skipped}["untrained-rows"]


def test_a_path_that_could_not_be_checked_is_no_empty_list(tmp_path: Path) -> None:
    folder = write_overlay(tmp_path / "no-vocabulary", {"config.json": "{"})
    with pytest.raises(modelcheck.UsageError, match="could not be checked"):
        pad_is_eos(folder)
    with pytest.raises(modelcheck.UsageError, match="no such folder"):
        special_token_unknown(tmp_path / "nowhere")


def test_an_option_that_means_nothing_is_refused(folder: Path) -> None:
    with pytest.raises(modelcheck.UsageError, match="expected one of none, used, embeddings, full"):
        modelcheck.lint(folder, weights="some")
    with pytest.raises(TypeError, match="did you mean 'tokenizer'"):
        modelcheck.lint(tokeniser=object())  # type: ignore[call-arg]


def test_facts_handed_in_directly() -> None:
    config = {"pad_token": "</s>", "eos_token": "</s>"}
    assert pad_is_eos.on(tokenizer_config=config, is_chat=True)
    with pytest.raises(TypeError, match="pass tokenizer="):
        double_bos.on()


@pytest.mark.parametrize(
    "wrap", [partial(torch.compile, backend="eager"), torch.nn.DataParallel], ids=["compiled", "data parallel"]
)
def test_a_wrapped_model_is_linted_as_it_is_saved(tokenizer: Any, model: Any, wrap: Any) -> None:
    report = modelcheck.lint(tokenizer=tokenizer, model=wrap(model), target=["vllm"])
    assert (report.findings, report.targets[0].internal) == ([], [])


def test_what_is_no_model_of_transformers_is_refused() -> None:
    with pytest.raises(modelcheck.UsageError, match="model= is a Linear, which has no config"):
        modelcheck.lint(model=torch.nn.Linear(2, 2))


@pytest.mark.parametrize("target", [["a", "b"], b"a", 5, None])
def test_a_target_that_is_no_path_is_refused(target: Any) -> None:
    with pytest.raises(TypeError, match="expected a path or hub id"):
        modelcheck.lint(target)


def test_a_text_is_no_list_of_rules(folder: Path) -> None:
    with pytest.raises(TypeError, match=r"select is 'TOK', expected a list: \['TOK'\]"):
        modelcheck.lint(folder, select="TOK")


def test_an_empty_path_is_not_as_none(folder: Path) -> None:
    with pytest.raises(modelcheck.UsageError, match="a path is empty"):
        modelcheck.lint(folder, base="")
