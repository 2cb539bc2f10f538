"""The grammar that answers of the model will be held to."""

from __future__ import annotations

from modelcheck.fact import NotApplicable, fact
from modelcheck.grammar import Grammar


@fact
def grammar() -> Grammar:
    """The grammar of `--grammar`."""
    raise NotApplicable("no grammar was named")
