"""200 of 200 answers conform: tokenizers of both kinds, batches of 1 and of 8, both backends; and what masks cost."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
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

# {size of a batch: batches for each grammar}: over 200 answers of each size with all grammars.
BATCHES = {1: 34, 8: 5}
STOPS = {"qwen3": "<|im_end|>", "gemma3": "<end_of_turn>"}
REAL = [*STOPS]
# On a large vocabulary each step is slow: 200 answers of both sizes together, with all of these grammars.
LARGE_BATCHES = {1: 8, 8: 4}
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


def answered(held: Held, names: Collection[str], batches: Mapping[int, int], backend: str) -> Counter[int]:
    """{size of a batch: answers in such batches}; every one of them must have conformed."""
    sizes = [size for size, number in batches.items() for _ in range(number)]
    rows, failed = [size for size in sizes for _ in range(size)], []
    for name in names:
        conforms, answers = Recognizer(parse(GRAMMARS[name])).conforms, held.answers(GRAMMARS[name], sizes, backend)
        for size, (text, ended) in zip(rows, answers, strict=True):
            if not (ended and conforms(text)):
                failed.append((name, size, text))
    assert failed == []
    return Counter(rows * len(names))


def figure(what: str, found: Mapping[int, int]) -> str:
    import transformers

    counts = ", ".join(f"{count} of {count} in batches of {size}" for size, count in found.items())
    return f"transformers {transformers.__version__}, {what}: answers conform, {counts}"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["byte-level", "SentencePiece"])
def test_200_of_200_answers_conform(kind: str, backend: str, record_property: Callable[[str, object], None]) -> None:
    from tokenizers import Tokenizer

    tokenizer = wrapped(
        sentencepiece() if kind == "SentencePiece" else Tokenizer.from_file(str(BASE / "tokenizer.json"))
    )
    if kind == "byte-level":
        tokenizer.eos_token = "<|im_end|>"
    held = Held(tokenizer)
    found = answered(held, GRAMMARS, BATCHES, backend)
    assert all(found[size] >= 200 for size in (1, 8))
    record_property("figure", figure(f"{kind}, {backend}", found))


@pytest.mark.parametrize("backend", BACKENDS)
def test_200_of_200_answers_conform_on_a_large_vocabulary(
    large: Held, backend: str, record_property: Callable[[str, object], None]
) -> None:
    found = answered(large, SHARED, LARGE_BATCHES, backend)
    assert found.total() >= 200
    record_property("figure", figure(f"{len(large.tokens.by_id)} tokens, {backend}", found))


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
