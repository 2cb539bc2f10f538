"""The scorer that holds an answer to a grammar."""

from __future__ import annotations

from modelcheck.dataset.example import Example
from modelcheck.errors import UsageError
from modelcheck.finetune.grammar.recognize import Recognizer, TooAmbiguous
from modelcheck.finetune.scorers.options import Options, Scorer
from modelcheck.grammar import load


def grammar(options: Options) -> Scorer:
    """1 where the whole answer is a text of the grammar `ebnf`, a file or the text itself.

    Needs the package transformers-cfg, from the extra `grammar`.
    """
    source = options.take("ebnf", str, "a file with a grammar, or the grammar itself: root ::= ...")
    try:
        read = load(source)
        recognizer = Recognizer(read)
    except UsageError as error:
        raise UsageError(f"{options.place}: ebnf: {error}") from None

    options.rests_on("ebnf", read.text.encode())

    def score(answer: str, _: Example) -> float:
        try:
            return float(recognizer.conforms(answer))
        except TooAmbiguous as error:
            raise UsageError(f"{options.place}: ebnf: the answer {answer[:60]!r} {error}") from None

    return score
