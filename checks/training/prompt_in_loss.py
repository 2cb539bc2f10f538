"""TRN002 prompt-in-loss."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.facts.training import Labels
from modelcheck.finding import Finding, Severity
from modelcheck.names import TRAINING

# A newline after the turn, or a piece of the header, that a template's own generation block takes in.
HEADER = 2


@check("TRN002", severity=Severity.WARNING)
def prompt_in_loss(label_audit: Labels) -> Iterator[Finding]:
    """Tokens of the prompt carry loss although the loss is meant for the answers.

    Symptoms: answers are garbage, or worse than they should be

    Why: A model that is trained on its prompts spends most of its steps on learning to write questions: in a measured
    run the target skill fell from 1.00 to 0.52 and a guarded one to 0.89.

    Common causes:
        - The collator was replaced by one that copies the ids into the labels. Solution: leave it to the trainer.
        - The response marker of a completion-only collator is not found in the text. Solution: see `modelcheck render`
          for markers that are.
        - `{% generation %}` encloses the header or the whole conversation. Solution: enclose the answer and its end
          alone.

    Bad:
        ```json training_evidence.json
        {"labels": {"rows": 640, "audited": 640, "tokens": 16640, "supervised": 16640, "end_tokens": ["<|im_end|>"],
            "ends_supervised": 640, "prompt_rows": 640, "prompt_tokens": 14080, "prompt_supervised": 14080,
            "prompts_compared": 8}}
        ```
    Good:
        ```json training_evidence.json
        {"labels": {"rows": 640, "audited": 640, "tokens": 16640, "supervised": 2560, "end_tokens": ["<|im_end|>"],
            "ends_supervised": 640, "prompt_rows": 640, "prompt_tokens": 14080, "prompts_compared": 8}}
        ```

    Traps: `loss_on = "all"` asks for it and is left alone. The assistant's own header may be masked or not, and up to
    two tokens a row are nobody's business.

    Sources: measured on a small model; axolotl's train_on_inputs and TRL's assistant_only_loss exist for
    it.
    """
    allowed = HEADER * label_audit.prompt_rows
    if label_audit.loss_on != "all" and label_audit.prompt_supervised > allowed:
        share = label_audit.prompt_supervised / label_audit.prompt_tokens
        yield Finding(
            f"{label_audit.prompt_supervised} of {label_audit.prompt_tokens} tokens outside the answers carry loss "
            f"({share:.0%}), expected none with loss_on = {label_audit.loss_on!r}: the model is trained to write "
            "prompts",
            TRAINING,
            "/labels/prompt_supervised",
        )
