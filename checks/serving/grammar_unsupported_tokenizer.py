"""SRV008 grammar-unsupported-tokenizer."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.facts.files import shorten
from modelcheck.facts.token_bytes import Unspellable
from modelcheck.facts.tokenizer import Tokenizer
from modelcheck.finding import Finding, Severity
from modelcheck.grammar import Grammar
from modelcheck.grammar.bnf import ROOT, intersection, union

FILE = "tokenizer.json"
# Of a class of characters, so many are tried; nearly all classes are shorter.
TRIED = 256
SHOWN = 5


@check("SRV008", severity=Severity.ERROR)
def grammar_unsupported_tokenizer(grammar: Grammar, tokenizer: Tokenizer) -> Iterator[Finding]:
    """The grammar for the answers cannot be used with the tokenizer, or not the whole of it.

    Symptoms: loading or serving fails; answers are garbage, or worse than they should be

    Why: A grammar is kept token by token: whoever applies it must know which bytes each token writes, and some tokens
    must write what the grammar asks for. Where that is not so, the decoder stops with an error in the middle of an
    answer, or some answers of the grammar can never be given, and nothing says so.

    Common causes:
        - The grammar holds characters for which the tokenizer has neither a token nor bytes. Solution: write it in
          characters that the model knows, or use a tokenizer with byte fallback.
        - The tokenizer changes text before it cuts it (lower case, NFKC), so the model was never shown the form in
          which the grammar has it. Solution: write the grammar in the form that the tokenizer leaves alone.
        - The decoder joins tokens by spaces or mends text afterwards (WordPiece, CTC). Solution: check answers with
          the scorer `grammar` instead of holding the model to it.

    Bad:
        ```json tokenizer.json
        {"decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true}}
        ```
        ```ebnf grammar
        root ::= "yes" | "no"
        ```
    Good:
        ```ebnf grammar
        root ::= "yes" | "no" | [0-9]{1,3} "\u00e9"
        ```

    Traps: nothing is said unless a grammar is named, by `--grammar` or by `eval.grammar` of a job. Byte-level
    tokenizers and those with byte fallback write everything. A class of characters of which some can be written is no
    fault. A first space that decoding drops is put back by whoever applies the grammar here.

    Sources: the decoders of the tokenizers library; transformers-cfg 0.2.7 and xgrammar 0.2.8, tried.
    """
    try:
        tokens = tokenizer.written
    except Unspellable as reason:
        yield Finding(
            f"{reason}, expected a decoder that writes token by token (ByteLevel, or Replace with ByteFallback): which "
            "token may come next cannot be told from the grammar",
            FILE,
            "/decoder",
        )
        return
    writable = grammar.within(tokens.alphabet)
    if lost := [] if tokens.complete else _lost(grammar, tokens.alphabet):
        some = ROOT in writable.rules
        yield Finding(
            f"no tokens write {shorten(''.join(lost[:SHOWN]))}, {len(lost)} of the characters that the grammar asks "
            "for, expected a token or bytes for each: "
            + ("answers with them are never given" if some else "no answer in the grammar can be given"),
            FILE,
            "/model/vocab",
            Severity.WARNING if some else Severity.ERROR,
        )
    if changed := [character for character in _characters(writable) if character not in tokenizer.back(character * 2)]:
        back = tokenizer.back(changed[0] * 2)
        yield Finding(
            f"{shorten(changed[0] * 2)} comes back from the tokenizer as {shorten(back)}, one of {len(changed)} "
            "characters of the grammar that it changes, expected none: the model never saw what it is made to write",
            FILE,
            "/normalizer",
            Severity.WARNING,
        )


def _lost(grammar: Grammar, alphabet: tuple[tuple[int, int], ...]) -> list[str]:
    """The first characters of those classes of which none can be written."""
    return [chr(ranges[0][0]) for ranges in sorted(grammar.classes) if not intersection(ranges, alphabet)]


def _characters(grammar: Grammar) -> Iterator[str]:
    for low, high in union(part for ranges in grammar.classes for part in ranges if part[1] - part[0] < TRIED):
        yield from map(chr, range(low, high + 1))
