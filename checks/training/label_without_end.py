"""TRN001 label-without-end."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.facts.training import Labels
from modelcheck.finding import Finding, Severity
from modelcheck.names import TRAINING


@check("TRN001", severity=Severity.ERROR)
def label_without_end(label_audit: Labels) -> Iterator[Finding]:
    """No end-of-turn token carries loss, so the model will not learn to stop.

    Symptoms: the model does not stop, or stops in the wrong place

    Why: What carries no loss is not learnt. If the token that ends an answer is masked in every row, the tuned model
    writes the right answer and then goes on until the length limit. The loss curve looks as good as that of a healthy
    run: 0.0083 against 0.0084 in a measured pair.

    Common causes:
        - The pad token is the EOS token and a collator masks every label equal to it. Solution: give the tokenizer a
          pad token of its own.
        - The template closes `{% generation %}` before the end-of-turn token. Solution: move the tag behind it.
        - Rows are cut before their end. Solution: raise data.max_length, or leave such rows out.

    Bad:
        ```json training_evidence.json
        {"labels": {"rows": 640, "audited": 640, "tokens": 16640, "supervised": 2560, "end_tokens": ["<|im_end|>"],
            "ends_supervised": 0, "rows_without_end": 640, "prompt_rows": 640, "prompt_tokens": 14080,
            "prompts_compared": 8}}
        ```
    Good:
        ```json training_evidence.json
        {"labels": {"rows": 640, "audited": 640, "tokens": 16640, "supervised": 2560, "end_tokens": ["<|im_end|>"],
            "ends_supervised": 640, "prompt_rows": 640, "prompt_tokens": 14080, "prompts_compared": 8}}
        ```

    Traps: the first label of a row is no target and does not count; a model may end its turn with a token that
    generation does not stop at, which is another fault of the same cost. Where only some rows lack their end, the
    finding is a warning: cut rows are often few.

    Sources: measured: pad equal to EOS under a masking collator, and EOS outside the generation block, both at 0
    supervised ends, all healthy runs above; TRL only warns.
    """
    if not label_audit.supervised or not label_audit.audited:
        return
    ends = " or ".join(map(repr, label_audit.end_tokens)) or "an end-of-turn token"
    if not label_audit.ends_supervised:
        yield Finding(
            f"0 of {label_audit.supervised} supervised labels are {ends}, expected one in each answer: the model is "
            "never taught to end a turn and writes on until the length limit",
            TRAINING,
            "/labels/ends_supervised",
        )
    elif label_audit.rows_without_end:
        yield Finding(
            f"{label_audit.rows_without_end} of {label_audit.audited} rows have no supervised {ends}, expected one in "
            "each: they teach the model to break off without ending its turn",
            TRAINING,
            "/labels/rows_without_end",
            Severity.WARNING,
        )
