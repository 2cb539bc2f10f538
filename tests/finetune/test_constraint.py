"""Answers of a model that is held to a grammar are texts of that grammar, whatever the tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from finetuning import BASE
from grammars import GRAMMARS, STOP, Held, sentencepiece, wrapped
from tokenizers import Tokenizer, decoders, models

from modelcheck import UsageError
from modelcheck.facts.token_bytes import TokenBytes, Unspellable, token_bytes
from modelcheck.finetune.engines.answer import Prompt
from modelcheck.finetune.engines.transformers import Engine
from modelcheck.finetune.grammar.constraint import BACKENDS, Constraint, spelling
from modelcheck.finetune.grammar.recognize import Recognizer
from modelcheck.finetune.job import Generation
from modelcheck.finetune.protocol import StageError
from modelcheck.grammar import parse

# The library's parts have no types for what makes them.
DECODERS: Any = decoders
BYTES = TokenBytes({i: bytes([i]) for i in range(1, 256)})
TOKENIZERS: dict[str, Callable[[], Tokenizer]] = {
    "byte-level": lambda: Tokenizer.from_file(str(BASE / "tokenizer.json")),
    "byte fallback, drops a first space": sentencepiece,
    "unigram, metaspace": lambda: sentencepiece(unigram=True, metaspace=True),
}


@pytest.fixture(scope="module", params=TOKENIZERS)
def held(request: pytest.FixtureRequest) -> Held:
    tokenizer = wrapped(TOKENIZERS[request.param]())
    if request.param == "byte-level":
        tokenizer.eos_token = "<|im_end|>"
    return Held(tokenizer)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", GRAMMARS)
def test_every_answer_conforms(held: Held, name: str, backend: str) -> None:
    if backend == "xgrammar":
        pytest.importorskip("xgrammar")
    recognizer = Recognizer(parse(GRAMMARS[name]))
    found = [*held.answers(GRAMMARS[name], [1, 3], backend)]
    assert [text for text, ended in found if not (ended and recognizer.conforms(text))] == []


def test_an_end_of_the_text_is_no_place_for_half_a_character() -> None:
    row = Constraint.of(parse('root ::= "a"'), BYTES, [0]).processor()._row()
    row.accept(ord("a"))
    assert row.allowed().nonzero().flatten().tolist() == [0]


def test_characters_are_written_byte_by_byte_and_only_those_of_the_grammar() -> None:
    row = Constraint.of(parse("root ::= [\u00e9-\u00eb]"), BYTES, [0]).processor()._row()
    assert row.allowed().nonzero().flatten().tolist() == [0xC3]
    row.accept(0xC3)
    assert row.allowed().nonzero().flatten().tolist() == [0xA9, 0xAA, 0xAB]


def test_only_utf8_is_written() -> None:
    row = Constraint.of(parse("root ::= [^x]"), BYTES, [0]).processor()._row()
    row.accept(0xE0)
    # E0 80 to E0 9F would be a longer form of what two bytes say.
    assert row.allowed().nonzero().flatten().tolist() == [*range(0xA0, 0xC0)]


def test_no_token_can_leave_an_answer_that_cannot_be_ended() -> None:
    tokens = TokenBytes({i: text.encode() for i, text in enumerate(["a", "b", "c", "bd", "\u00e9t\u00e9"], start=1)})
    row = Constraint.of(parse('root ::= "a" ("b" ("\u00e9" | "d") | "c")'), tokens, [0]).processor()._row()
    row.accept(1)
    # `bd` would do, but `b` would not: without a token for `d` alone, the grammar loses that alternative.
    assert row.allowed().nonzero().flatten().tolist() == [3]


def test_equal_tokens_are_all_allowed_and_stop_ids_only_at_the_end() -> None:
    tokens = TokenBytes({1: b"a", 2: b"a", 3: b"b"})
    row = Constraint.of(parse('root ::= "a"?'), tokens, [0, 3]).processor()._row()
    assert row.allowed().nonzero().flatten().tolist() == [0, 1, 2, 3]


def test_padding_of_a_finished_row_is_left_alone_and_a_processor_serves_one_call() -> None:
    processor = Constraint.of(parse('root ::= "a" | "bb"'), BYTES, [0]).processor()
    scores, ids = torch.zeros(2, 256), torch.zeros(2, 1, dtype=torch.long)
    assert processor(ids, scores).isfinite().sum(1).tolist() == [2, 2]
    for column, allowed in (([ord("a"), ord("b")], [1, 1]), ([0, ord("b")], [256, 1]), ([0, 0], [256, 256])):
        ids = torch.cat([ids, torch.tensor(column).unsqueeze(1)], dim=1)
        assert processor(ids, scores).isfinite().sum(1).tolist() == allowed
    with pytest.raises(UsageError, match="one processor for each call"):
        processor(ids, scores)


@pytest.mark.parametrize(
    ("stop_ids", "grammar", "said"),
    [
        ((), 'root ::= "a"', "names none"),
        ((0,), 'root ::= "z"', "its tokens spell none of the texts"),
    ],
    ids=["no stop id", "no token"],
)
def test_what_cannot_be_held_is_refused(stop_ids: tuple[int, ...], grammar: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Constraint.of(parse(grammar), TokenBytes({1: b"a"}), stop_ids)


@pytest.mark.parametrize(
    "decoder",
    [
        None,
        DECODERS.WordPiece(),
        DECODERS.Sequence([DECODERS.Strip(" ", 1, 0), DECODERS.Fuse()]),
        DECODERS.BPEDecoder(),
    ],
    ids=["none", "WordPiece", "Strip of each token", "BPEDecoder"],
)
def test_decoders_that_do_more_than_write_tokens_are_refused(decoder: Any) -> None:
    tokenizer = Tokenizer(models.BPE({"a": 0, "b": 1}, []))
    tokenizer.decoder = decoder
    with pytest.raises(Unspellable):
        token_bytes(tokenizer)
    with pytest.raises(UsageError, match="cannot be used with this tokenizer"):
        spelling(wrapped(tokenizer))


@pytest.mark.parametrize("name", TOKENIZERS)
def test_bytes_are_what_decoding_gives(name: str) -> None:
    tokenizer = TOKENIZERS[name]()
    tokens, text = token_bytes(tokenizer), "na\u00efve caf\u00e9 \u65e5\u672c\u8a9e \U0001f600 yes"
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    written = b"".join(tokens.by_id[i] for i in ids if i in tokens.by_id).decode()
    assert written[tokens.drops_space and written.startswith(" ") :] == tokenizer.decode(ids, skip_special_tokens=False)
    assert tokenizer.token_to_id(STOP) not in tokens.by_id or name == "byte-level"


def test_the_engine_holds_its_answers_to_the_grammar_and_says_where_it_cannot() -> None:
    grammar, prompts = parse(GRAMMARS["number"]), {str(i): Prompt([5 + i, 6, 7]) for i in range(5)}
    engine = Engine(str(BASE), "float32", 2, grammar.text)
    stop = engine.tokenizer.convert_tokens_to_ids("<|im_end|>")
    for gen in (Generation(max_tokens=24), Generation(temperature=1.0, top_k=2, top_p=0.5, min_p=0.1, max_tokens=24)):
        answers = [answer for batch in engine.answers(prompts, gen, [stop]) for answer in batch]
        assert len(answers) == 5
        assert all(Recognizer(grammar).conforms(answer.text) and answer.finish == "stop" for answer in answers)
    with pytest.raises(StageError, match=r"eval\.grammar: .* names none"):
        next(engine.answers(prompts, Generation(), []))
