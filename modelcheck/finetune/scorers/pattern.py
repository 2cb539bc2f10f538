"""The scorer that reads an answer by a regular expression."""

from __future__ import annotations

import re

from modelcheck.dataset.example import Example
from modelcheck.finetune.scorers.options import Options, Scorer
from modelcheck.finetune.scorers.text import references


def regex(options: Options) -> Scorer:
    """1 where `group` (default 1, or the whole match of a pattern without groups) of the last match is the reference.

    Without a reference (null) a match is enough. The last match counts: models reason first and answer then.
    """
    pattern = options.take("pattern", str, "a regular expression")
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        options.refuse("pattern", f"a regular expression ({error})")
    first = min(1, compiled.groups)
    group = options.take("group", int, f"the number of a group of {pattern!r}, 0 to {compiled.groups}", first)
    if not 0 <= group <= compiled.groups:
        options.refuse("group", f"the number of a group of {pattern!r}, 0 to {compiled.groups}")

    def score(answer: str, item: Example) -> float:
        matches = list(compiled.finditer(answer))
        if not matches:
            return 0.0
        found = (matches[-1].group(group) or "").strip()
        return float(item.reference is None or found in [r.strip() for r in references(item.reference)])

    return score
