"""Grammars: one text that all engines read alike, mistakes with file and line, and answers held to it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from grammars import GRAMMARS
from hypothesis import given, settings
from hypothesis import strategies as st

from modelcheck.dataset.example import Example
from modelcheck.errors import UsageError
from modelcheck.finetune.grammar import recognize
from modelcheck.finetune.grammar.recognize import Recognizer, TooAmbiguous
from modelcheck.finetune.scorers import scorer
from modelcheck.grammar import Grammar, GrammarError, load, parse

WRONG = {
    "a rule that is not there": (
        'root ::= "a" verdct\nverdict ::= "b"',
        "1: verdct is no rule; did you mean 'verdict'?",
    ),
    "no root": ('r ::= "a"', "1: there is no rule root"),
    "a rule twice": ('root ::= "a"\nroot ::= "b"', "2: root is defined a second time"),
    "single quotes": ("root ::= \"a\"\n  | 'b'", '2: "\'" is no part of a grammar here: texts stand between double'),
    "any character": ("root ::= .", "1: '.' is no part of a grammar here: engines read it differently"),
    "an open text": ('root ::= "a', "1: '\"' is no part of a grammar here: a text ends in the same line"),
    "an open parenthesis": ('root ::= ("a" | "b"', "1: it ends where"),
    "nothing on one side": (
        'root ::= "a" |',
        '1: it ends where a text, a class, a rule or ( is expected; nothing is written ""',
    ),
    "two repeats": ('root ::= "a"+?', "1: ? where a text"),
    "a class backwards": ("root ::= [z-a]", "1: z-a in [z-a] runs backwards"),
    "an unknown escape": (r'root ::= "\d"', r"1: \d is no escape; known are \n \r"),
    "half a surrogate pair": (r'root ::= "\ud800"', r'1: "\ud800" holds what is no character'),
    "left recursion": ('root ::= list\nlist ::= list "," "a" | "a"', "2: may begin with itself"),
    "a repeat of nothing": ('root ::= ("a"?)* "b"', "1: may begin with itself, or repeats what may be empty"),
    "no end": ('root ::= "a" more\nmore ::= "b" more', "1: never comes to an end"),
    "too many repeats": ('root ::= "a"{1,100000}', "1: {1,100000} is no repeat"),
    "too many beginnings": (
        "root ::= a1\n" + "".join(f'a{i} ::= a{i + 1} "x" | a{i + 1} "y"\n' for i in range(1, 20)) + 'a20 ::= "z"',
        "1: begins in more than 10000 ways",
    ),
    "rules in a long row": (
        "root ::= a1\n" + "".join(f"a{i} ::= a{i + 1}\n" for i in range(1, 2000)) + 'a2000 ::= "z"',
        "1: more than 100 rules begin with each other",
    ),
    "a long text": ('root ::= "' + "a" * 70_000 + '"', "1: is longer than 65536 characters"),
}
ALIKE = {
    'root ::= "ab"*': (["", "ab", "abab"], ["a", "aba"]),
    'root ::= [^a-c"]': (["d", "\u00e9", "\U0001f600"], ["a", "b", "c", '"', ""]),
    'root ::= "a"{0,2} "b"{2} "c"{1,}': (["bbc", "aabbccc"], ["abc", "aaabbc", "bb"]),
    "root ::= [a-z] [0-9]? [\\]\\\\]": (["z]", "a\\", "b7]"], ["A]", "a", "-]"]),
    'root ::= "a" # said\n  | "b" tail\ntail ::= "c"\n': (["a", "bc"], ["b", "ac"]),
    'root ::= "(" root ")" | ""': (["", "(())"], ["(", "())"]),
    r'root ::= "\x41\u00e9\U0001F600\n\"\\"': (['A\u00e9\U0001f600\n"\\'], ["A"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_named_by_file_and_line(name: str, tmp_path: Path) -> None:
    text, said = WRONG[name]
    (file := tmp_path / "answer.ebnf").write_text(text)
    with pytest.raises(GrammarError, match="^" + re.escape(f"{file}:{said}")):
        load(str(file))


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (file := tmp_path / "latin.ebnf").write_bytes(b'root ::= "\xe9"')
    with pytest.raises(GrammarError, match="is not UTF-8"):
        load(str(file))
    with pytest.raises(GrammarError, match=r"expected a file, or a grammar: root ::= \.\.\."):
        load(str(tmp_path / "absent.ebnf"))


@pytest.mark.parametrize("text", ['root = "a"', "root: yes | no", "root\n  = yes", f'root = "{"a" * 300}"'])
def test_a_grammar_without_its_sign_is_told_from_a_file_that_is_absent(text: str) -> None:
    with pytest.raises(GrammarError, match=r"holds no ::=, so it is taken for the name of a file .*root ::= \.\.\.$"):
        load(text)


@pytest.mark.parametrize("text", [*ALIKE, *GRAMMARS.values()])
def test_plain_rules_read_as_themselves(text: str) -> None:
    plain = parse(text).text
    assert parse(plain).text == plain


def test_a_dash_at_either_end_of_a_class_is_itself() -> None:
    # xgrammar refuses it as it stands, and gets it written out.
    assert parse("root ::= [a-c-] [-x]").text == parse(r"root ::= [\x2da-c] [x\-]").text


@pytest.mark.parametrize("text", ALIKE)
def test_both_engines_take_what_the_notation_says(text: str) -> None:
    good, bad = ALIKE[text]
    for reads in (Recognizer(parse(text)).conforms, xgrammar_reads(text), xgrammar_reads(parse(text).text)):
        assert [word for word in good if not reads(word)] == []
        assert [word for word in bad if reads(word)] == []


def xgrammar_reads(text: str) -> Any:
    """xgrammar's own recogniser for a grammar as it is written."""
    xgr = pytest.importorskip("xgrammar")
    info = xgr.TokenizerInfo([b"x", b"y"], xgr.VocabType.RAW, stop_token_ids=[0])
    compiled = xgr.GrammarCompiler(info).compile_grammar(xgr.Grammar.from_ebnf(text))

    def reads(word: str) -> bool:
        matcher = xgr.GrammarMatcher(compiled, terminate_without_stop_token=True)
        return bool(matcher.accept_string(word) and matcher.is_terminated()) if word else bool(matcher.is_terminated())

    return reads


LETTERS = "ab\u00e9\U0001f600"
PIECES = st.sampled_from(['"a"', '"b\u00e9"', '""', "[ab]", "[^a]", "[\u00e9-\U0001f600]", '"\U0001f600"', "other"])
REPEATS = st.sampled_from(["", "", "?", "*", "+", "{2}", "{0,2}", "{1,}"])
ITEMS = st.recursive(
    st.tuples(PIECES, REPEATS).map("".join),
    lambda inner: st.tuples(st.lists(inner, min_size=1, max_size=3).map(" | ".join), REPEATS).map(
        lambda p: f"({p[0]}){p[1]}"
    ),
    max_leaves=5,
)
RULE = st.lists(ITEMS, min_size=1, max_size=3).map(" ".join)


@given(RULE, RULE, st.lists(st.text(LETTERS, max_size=6), min_size=12, max_size=12))
@settings(max_examples=40, deadline=None)
def test_whatever_is_taken_means_the_same_to_both_engines(root: str, other: str, words: list[str]) -> None:
    text = f"root ::= {root}\nother ::= {other}\n"
    try:
        grammar = parse(text)
    except GrammarError:
        return
    ours, theirs = Recognizer(grammar), xgrammar_reads(text)
    words += [word for word in texts(grammar) if word]
    assert [word for word in words if word and ours.conforms(word) != theirs(word)] == []


def texts(grammar: Grammar, most: int = 8) -> list[str]:
    """Some texts of a grammar, by the recogniser's own way through it."""
    recognizer = Recognizer(grammar)
    waiting, found = [("", recognizer.start)], []
    for word, state in waiting:
        found += [word] if () in state else []
        if len(found) > most or len(waiting) > 200:
            break
        waiting += [(word + c, after) for c in LETTERS if (after := recognizer.after(state, ord(c)))]
    return found


def score(ebnf: str, answer: str) -> float:
    return scorer({"type": "grammar", "ebnf": ebnf}, "job.toml: suite x")(answer, Example((), 1, "rows.jsonl")).value


@pytest.mark.parametrize(
    ("ebnf", "answer", "value"),
    [
        ('root ::= ("a" | "b")*', "ab" * 20_000, 1),
        ('root ::= "(" root ")" | "x"', "(" * 900 + "x" + ")" * 900, 1),
        ('root ::= "yes"', "yes" * 100_000, 0),
        ("root ::= [^x]*", "\ud800", 0),
    ],
    ids=["long", "deep", "long and wrong", "half a surrogate pair"],
)
def test_answers_of_any_size_are_scored(ebnf: str, answer: str, value: float) -> None:
    assert score(ebnf, answer) == value


@pytest.mark.parametrize(
    ("ebnf", "answer"),
    [
        ('root ::= "a" root "b" | "a" root "c" | "d"', "a" * 60),
        ('root ::= "(" root ")" | "x"', "(" * 50_000),
        ("root ::= [a-z]*", "a" * 1_000_000),
    ],
    ids=["two ways for each character", "deep", "too long"],
)
def test_an_answer_that_takes_too_long_could_not_be_checked(ebnf: str, answer: str) -> None:
    with pytest.raises(
        UsageError, match=r"^job\.toml: suite x: ebnf: the answer 'a*\(*' could not be checked: the gram"
    ):
        score(ebnf, answer)


def test_a_scorer_without_a_grammar_that_can_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"^job\.toml: suite x: ebnf: grammar:1: "):
        score("root ::= .", "a")
    monkeypatch.setitem(__import__("sys").modules, "transformers_cfg.parser", None)
    with pytest.raises(UsageError, match=re.escape(recognize.INSTALL)):
        score('root ::= "a"', "a")


def test_too_ambiguous_is_no_score() -> None:
    assert issubclass(TooAmbiguous, UsageError)
