"""What transformers says when it cannot load a folder, and what helps. The texts are those of 4.57 and 5.23."""

from __future__ import annotations

import re
from collections.abc import Sequence

# (pattern in the text, what to do)
FAILURES: Sequence[tuple[str, str]] = (
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
    return next((help_ for pattern, help_ in FAILURES if re.search(pattern, text)), None)
