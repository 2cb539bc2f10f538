"""Published tokenizers, each with the fault that it really has and without those it only seems to have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import modelcheck
from modelcheck import Severity

pytestmark = pytest.mark.slow

FAULTS = {
    # Turns end with <|eot_id|>, generation stops at <|end_of_text|>; the template adds no generation prompt on demand.
    "llama3": {"terminator-not-eos", "generation-prompt-ignored", "pad-missing"},
    # tokenizer.json adds the BOS that the template has already written.
    "llama3_1": {"double-bos", "pad-missing"},
    "gemma3": {"double-bos"},
    "gemini": {"double-bos"},
    "deepseek_v3": {"pad-is-eos"},
    "qwen3": set(),
    "gptoss": set(),
}
# deepseek_v3 says add_bos_token, which its byte-level tokenizer.json does not heed.
ONE_BOS = ("llama3", "deepseek_v3", "qwen3", "gptoss")


@pytest.mark.parametrize("name", FAULTS)
def test_the_faults_it_has(name: str, cached: Callable[[str], Path]) -> None:
    [report] = modelcheck.lint(cached(f"tokenizers/{name}"))
    assert report.internal == []
    assert {f.slug for f in report.findings} >= FAULTS[name]


@pytest.mark.parametrize("name", ONE_BOS)
def test_no_double_bos_where_encoding_gives_one(name: str, cached: Callable[[str], Path]) -> None:
    assert modelcheck.lint(cached(f"tokenizers/{name}"), select=["double-bos"]).findings == []


def test_a_double_bos_of_a_published_model_is_a_warning(cached: Callable[[str], Path]) -> None:
    [finding] = modelcheck.lint(cached("tokenizers/llama3_1"), select=["double-bos"]).findings
    assert finding.severity is Severity.WARNING
    assert "<|begin_of_text|>" in finding.message


def test_nothing_is_wrong_with_a_healthy_one(cached: Callable[[str], Path]) -> None:
    [report] = modelcheck.lint(cached("tokenizers/qwen3"))
    assert [f for f in report.findings if f.severity > Severity.INFO] == []


# The library's own class is written anew, an old class is replaced, the template moves, tokens get roles.
@pytest.mark.parametrize("name", ["qwen3", "deepseek_v3", "gemini"])
def test_what_transformers_writes_anew_is_no_drift(name: str, cached: Callable[[str], Path], tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    base = cached(f"tokenizers/{name}")
    AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path)
    assert (tmp_path / "tokenizer.json").read_bytes() != (base / "tokenizer.json").read_bytes()
    [report] = modelcheck.lint(tmp_path, base=str(base), select=["tokenizer-drift", "template-drift"])
    assert (report.findings, report.internal) == ([], [])
