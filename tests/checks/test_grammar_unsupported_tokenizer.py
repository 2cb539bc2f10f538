from pathlib import Path

import pytest
from grammars import sentencepiece

import modelcheck
from modelcheck import Severity, UsageError
from modelcheck.report import TargetReport
from modelcheck.testing import lint_overlay, write_overlay

SLUG = "grammar-unsupported-tokenizer"
YES = 'root ::= "yes" | "no"'
UNIGRAM = sentencepiece(unigram=True, metaspace=True).to_str()
LLAMA_2 = sentencepiece().to_str()
HEALTHY = {
    "no grammar is named": {"tokenizer.json": '{"decoder": null}'},
    "byte-level, any character": {"grammar": 'root ::= "\U0001f600" [^x]* "\u00e9"'},
    "byte fallback, any character": {"tokenizer.json": LLAMA_2, "grammar": 'root ::= "\U0001f600" "\u0416"'},
    "a first space that decoding drops": {"tokenizer.json": LLAMA_2, "grammar": 'root ::= " yes"'},
    "no bytes, and a class of which some are there": {"tokenizer.json": UNIGRAM, "grammar": 'root ::= "yes" [a-z]+'},
}
FAULTS = {
    "no decoder": (
        {"tokenizer.json": '{"decoder": null}'},
        YES,
        Severity.ERROR,
        "/decoder",
        "tokens are joined by spaces",
    ),
    "no token for a character": (
        {"tokenizer.json": UNIGRAM},
        'root ::= "\u0416"',
        Severity.ERROR,
        "/model/vocab",
        "no answer in the grammar can be given",
    ),
    "no token for one of two answers": (
        {"tokenizer.json": UNIGRAM},
        'root ::= "yes" | "\u0416"',
        Severity.WARNING,
        "/model/vocab",
        "answers with them are never given",
    ),
    "lower case": (
        {"tokenizer.json": '{"normalizer": {"type": "Lowercase"}}'},
        'root ::= "Yes" | "no"',
        Severity.WARNING,
        "/normalizer",
        "'YY' comes back from the tokenizer as 'yy'",
    ),
}


def lint(folder: Path, overlay: dict[str, str]) -> TargetReport:
    """The report on the healthy checkpoint, its tokenizer.json changed or, where that is a whole one, exchanged."""
    tokenizer = overlay.get("tokenizer.json", "")
    merged = {name: text for name, text in overlay.items() if name != "tokenizer.json" or '"vocab"' not in text}
    write_overlay(folder, merged)
    if '"vocab"' in tokenizer:
        (folder / "tokenizer.json").write_text(tokenizer)
    [report] = modelcheck.lint(folder, select=[SLUG], grammar=overlay.get("grammar")).targets
    return report


@pytest.mark.parametrize("name", HEALTHY)
def test_is_silent(name: str, tmp_path: Path) -> None:
    report = lint(tmp_path, HEALTHY[name])
    assert [*report.findings, *report.skipped] == []


@pytest.mark.parametrize("name", FAULTS)
def test_says_what_it_saw_and_where(name: str, tmp_path: Path) -> None:
    overlay, grammar, severity, at, said = FAULTS[name]
    [finding] = lint(tmp_path, {**overlay, "grammar": grammar}).findings
    assert (finding.severity, finding.file, finding.at) == (severity, "tokenizer.json", at)
    assert said in finding.message


def test_without_a_tokenizer_json_it_could_not_be_checked() -> None:
    report = lint_overlay({"tokenizer.json": "null", "grammar": YES}, select=[SLUG])
    assert report.findings == []
    assert [skipped.code for skipped in report.targets[0].skipped] == ["SRV008"]


def test_a_grammar_that_cannot_be_read_is_a_wrong_option() -> None:
    with pytest.raises(UsageError, match=r"^--grammar:1: there is no rule root"):
        lint_overlay({"grammar": 'r ::= "a"'}, select=[SLUG])
