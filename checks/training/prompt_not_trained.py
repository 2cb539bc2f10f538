"""TRN012 prompt-not-trained."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.facts.training import Labels
from modelcheck.finding import Finding, Severity
from modelcheck.names import TRAINING


@check("TRN012", severity=Severity.ERROR)
def prompt_not_trained(label_audit: Labels) -> Iterator[Finding]:
    """Evaluation asks with another prompt than the rows were trained with.

    Symptoms: training and serving see different text

    Why: A model that was taught to answer behind one header is asked behind another, or is asked to write the header
    itself. In measured runs a role header that differed took skills from 1.00 to 0.02, a missing generation prompt to
    0.01.

    Common causes:
        - The template ignores add_generation_prompt. Solution: give it the block that `modelcheck lint` names.
        - Training renders with another template than evaluation. Solution: one template for both.
        - A switch such as enable_thinking is set on one side. Solution: set template_args for both.

    Bad:
        ```json training_evidence.json
        {"labels": {"rows": 640, "audited": 640, "tokens": 16640, "supervised": 2560, "end_tokens": ["<|im_end|>"],
            "ends_supervised": 640, "prompt_rows": 640, "prompt_tokens": 14080, "prompts_compared": 8,
            "prompts_other": [1, 2, 3, 4, 5, 6, 7, 8]}}
        ```
    Good:
        ```json training_evidence.json
        {"labels": {"rows": 640, "audited": 640, "tokens": 16640, "supervised": 2560, "end_tokens": ["<|im_end|>"],
            "ends_supervised": 640, "prompt_rows": 640, "prompt_tokens": 14080, "prompts_compared": 8}}
        ```

    Traps: a template that opens a thought for the model may let the loss begin before the prompt of evaluation ends:
    only a later begin is a finding.

    Sources: measured: role headers that differ, a missing generation prompt; lm-eval#3295, lm-eval#2676.
    """
    compared = label_audit.prompts_compared
    if other := len(label_audit.prompts_other):
        yield Finding(
            f"{other} of {compared} training rows do not begin with the prompt that evaluation gives for them (row "
            f"{label_audit.prompts_other[0]} first), expected the same token ids: the model is asked what it was not "
            "taught",
            TRAINING,
            "/labels/prompts_other",
        )
    elif short := len(label_audit.prompts_short):
        yield Finding(
            f"in {short} of {compared} training rows the loss begins behind the end of evaluation's prompt (row "
            f"{label_audit.prompts_short[0]} first), expected it to begin there: the model is asked to write what it "
            "never learnt to write, such as the assistant's header",
            TRAINING,
            "/labels/prompts_short",
        )
