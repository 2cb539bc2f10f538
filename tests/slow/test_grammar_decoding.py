"""200 of 200 answers conform: real tokenizers of both kinds, batches of 1 and 8, both backends; and what masks cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from finetuning import BASE
from grammars import GRAMMARS, Held, sentencepiece, wrapped

import modelcheck
from modelcheck.finetune.grammar.constraint import BACKENDS, Constraint
from modelcheck.finetune.grammar.recognize import Recognizer
from modelcheck.grammar import parse

pytestmark = pytest.mark.slow

# For each grammar; with all of them over 200 answers.
BATCHES = [*[1] * 17, *[8] * 3]
STOPS = {"qwen3": "<|im_end|>", "gemma3": "<end_of_turn>"}
REAL = [*STOPS]
# For each of these on a large vocabulary, where each step is slow: 200 answers with all of them.
LARGE_BATCHES = [*[1] * 8, *[8] * 4]
SHARED = ("enum", "number", "json", "letters", "many bytes")
FREE = 'root ::= "{\\"reason\\": \\"" [^"\\\\\\n]* "\\"}"'


def real(name: str, cached: Callable[[str], Path]) -> Any:
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(cached("tokenizers") / name)
    tokenizer.eos_token = STOPS[name]
    return tokenizer


@pytest.fixture(scope="module", params=REAL)
def large(request: pytest.FixtureRequest, cached: Callable[[str], Path]) -> Held:
    return Held(real(request.param, cached))


def conforming(held: Held, grammar: str, batches: list[int], backend: str) -> list[bool]:
    recognizer = Recognizer(parse(grammar))
    return [ended and recognizer.conforms(text) for text, ended in held.answers(grammar, batches, backend)]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["byte-level", "byte fallback"])
def test_200_of_200_answers_conform(kind: str, backend: str, record_property: Callable[[str, object], None]) -> None:
    from tokenizers import Tokenizer

    tokenizer = wrapped(
        sentencepiece() if kind == "byte fallback" else Tokenizer.from_file(str(BASE / "tokenizer.json"))
    )
    if kind == "byte-level":
        tokenizer.eos_token = "<|im_end|>"
    held = Held(tokenizer)
    found = {name: conforming(held, grammar, BATCHES, backend) for name, grammar in GRAMMARS.items()}
    total = sum(map(len, found.values()))
    assert total >= 200
    assert [name for name, answers in found.items() if not all(answers)] == []
    record_property("figure", f"{kind}, {backend}: {total} of {total} answers conform")


@pytest.mark.parametrize("backend", BACKENDS)
def test_200_of_200_answers_conform_on_a_large_vocabulary(
    large: Held, backend: str, record_property: Callable[[str, object], None]
) -> None:
    found = {name: conforming(large, GRAMMARS[name], LARGE_BATCHES, backend) for name in SHARED}
    total = sum(map(len, found.values()))
    assert total >= 200
    assert [name for name, answers in found.items() if not all(answers)] == []
    record_property("figure", f"{len(large.tokens.by_id)} tokens, {backend}: {total} of {total} answers conform")


def test_what_a_mask_costs(large: Held, record_property: Callable[[str, object], None]) -> None:
    took, ids = {}, {token: number for number, token in large.tokens.by_id.items()}
    for backend in BACKENDS:
        began = time.process_time()
        row = Constraint.of(parse(FREE), large.tokens, [large.stop], backend).processor()._row()
        built, masks = time.process_time() - began, []
        for text in ("{", '"', "r", "e", "a", "s", "o", "n", '"', ":", " ", '"', "a", "b", "c"):
            began = time.process_time()
            row.allowed()
            masks.append(time.process_time() - began)
            row.accept(ids[text.encode()])
        took[backend] = (built, sum(masks) / len(masks), max(masks))
    for backend, (built, mean, most) in took.items():
        shown = f"built in {built:.2f} s, a mask {1000 * mean:.1f} ms, at most {1000 * most:.0f} ms (CPU)"
        record_property("figure", f"{len(large.tokens.by_id)} tokens, {backend}: {shown}")
    (slow, fast) = took["transformers-cfg"][1], took["xgrammar"][1]
    record_property(
        "figure", f"{len(large.tokens.by_id)} tokens: masks take {slow / fast:.1f} times as long as xgrammar's"
    )


def test_the_rule_is_silent_on_tokenizers_that_can(
    cached: Callable[[str], Path], record_property: Callable[[str, object], None]
) -> None:
    folders = sorted(path for path in cached("tokenizers").iterdir() if (path / "tokenizer.json").exists())
    found = {
        folder.name: report.findings + report.skipped
        for folder in folders
        for report in modelcheck.lint(folder, select=["SRV008"], grammar=GRAMMARS["json"]).targets
    }
    assert {name: list(findings) for name, findings in found.items() if findings} == {}
    record_property("figure", f"grammar-unsupported-tokenizer: silent on {len(found)} published tokenizers")
