"""TRN011 base-differs."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.facts.training import Bases
from modelcheck.finding import Finding, Severity
from modelcheck.names import TRAINING


@check("TRN011", severity=Severity.ERROR)
def base_differs(training_bases: Bases) -> Iterator[Finding]:
    """The trainer loaded another base than was evaluated.

    Symptoms: training and serving see different text

    Why: What is compared before and after is then two changes at once: another base and the training. A loader that
    fetches its own copy of a model, with other weights, special tokens or template, does it without a word.

    Common causes:
        - A loader maps a name to its own mirror. Solution: pass the path of a local folder.
        - The name moved to a new revision between two stages. Solution: pin the revision.
        - One stage has another cache. Solution: set HF_HOME for both.

    Bad:
        ```json training_evidence.json
        {"bases": {"differences": ["weights: evaluated 3fa1b0c2d4e5, trained 9bc0d1e2f3a4"]}}
        ```
    Good:
        ```json training_evidence.json
        {"bases": {"differences": []}}
        ```

    Traps: names and folders may differ; weights, tokenizer and special ids may not. Weights in two precisions cannot be
    compared and are not.

    Sources: unsloth maps hub names to its own mirrors; a recorded run was trained on one.
    """
    if training_bases.differences:
        yield Finding(
            "the base that was trained is not the one that was evaluated, expected one: "
            f"{'; '.join(training_bases.differences)}: before and after are not comparable",
            TRAINING,
            "/bases/differences",
        )
