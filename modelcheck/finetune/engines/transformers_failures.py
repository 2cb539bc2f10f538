"""What transformers says when it cannot load a folder, and what helps. The texts are those of 4.57 and 5.23."""

from __future__ import annotations

from modelcheck.finetune.engines.known_failures import Failures, known

FAILURES: Failures = (
    (
        r"Tokenizer class TokenizersBackend does not exist",
        "the folder was saved by transformers 5, which 4 cannot read: let eval.python or eval.env lead to that",
    ),
    (
        r"does not recognize this architecture",
        "let eval.python lead to a transformers that knows this model_type; where it is wrong, take the base's",
    ),
)


def remedy(text: str) -> str | None:
    """What helps against the failure that a text tells of; None where it is none of these."""
    found = known(text, FAILURES)
    return found[1] if found else None
