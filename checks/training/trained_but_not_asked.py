"""TRN005 trained-but-not-asked."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.facts.training import Trainability
from modelcheck.finding import Finding, Severity
from modelcheck.names import TRAINING


@check("TRN005", severity=Severity.ERROR)
def trained_but_not_asked(trainability: Trainability) -> Iterator[Finding]:
    """Parameters learn that the set-up does not ask to train.

    Symptoms: answers are garbage, or worse than they should be

    Why: Weights that move unasked are moved at a learning rate meant for others: embeddings and head want 5 to 10 times
    less than LoRA layers. An adapter that holds them is also larger than planned and may not be served.

    Common causes:
        - A trainer added lm_head or embed_tokens to modules_to_save when it added tokens. Solution: ask for them, or
          add no tokens.
        - A target name that also ends the name of another module. Solution: name more of the path.
        - The base was not frozen. Solution: wrap it with PEFT before training.

    Bad:
        ```json training_evidence.json
        {"trainability": {"method": "lora", "kinds": {"q": {"total": 8192, "trained": 2048, "reached": 8192},
            "embeddings": {"total": 24704, "trained": 0, "reached": 0}},
            "unasked": ["model.embed_tokens (embeddings)"]}}
        ```
    Good:
        ```json training_evidence.json
        {"trainability": {"method": "lora", "kinds": {"q": {"total": 8192, "trained": 2048, "reached": 8192},
            "embeddings": {"total": 24704, "trained": 0, "reached": 0}}}}
        ```

    Traps: single rows of new tokens that were asked for are no finding, nor are the fused experts and routers that PEFT
    takes in where `all-linear` is asked for.

    Sources: peft#334, peft#2864; TRL's clone_chat_template adds lm_head to modules_to_save by itself.
    """
    if trainability.unasked:
        yield Finding(
            f"trained and not asked for: {', '.join(trainability.unasked)}; expected the {trainability.method} run to "
            "leave them as they are: they move at a learning rate meant for others",
            TRAINING,
            "/trainability/unasked",
        )
