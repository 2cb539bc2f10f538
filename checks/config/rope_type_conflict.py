"""CFG006 rope-type-conflict."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.facts.config import Config
from modelcheck.facts.files import shorten
from modelcheck.facts.rope import Rope
from modelcheck.finding import Finding, Severity


@check("CFG006", severity=Severity.ERROR)
def rope_type_conflict(config: Config, ropes: tuple[Rope, ...]) -> Iterator[Finding]:
    """The RoPE parameters name two types, `type` and `rope_type`, and they differ.

    Symptoms: loading or serving fails

    Why: `type` is the old name of the field and `rope_type` the new one. A reader that knows one of them takes one
    embedding, a reader that knows the other takes another, and vLLM refuses to load the model.

    Common causes:
        - Context was extended by editing one of the two fields. Solution: set both to the type that is meant, or keep
          `rope_type` alone.
        - A library renamed the field and left the old one. Solution: the same.

    Bad:
        ```json config.json
        {"rope_parameters": {"rope_type": "linear", "type": "dynamic", "factor": 2.0}}
        ```
    Good:
        ```json config.json
        {"rope_parameters": {"rope_type": "linear", "type": "linear", "factor": 2.0}}
        ```

    Traps: `su` beside `longrope` and `mrope` beside `default` are the same thing under two names.

    Fix safety: safe where one is the legacy name of the other.

    Sources: vLLM 0.33 (transformers_utils/config.py, `patch_legacy_rope_type`); transformers#32167, vllm#9481.
    """
    for rope in ropes:
        if rope.conflict:
            yield Finding(
                f"type is {shorten(rope.values['type'])} and rope_type is {shorten(rope.values['rope_type'])}, "
                "expected the same: vLLM refuses the model, and other runtimes take either",
                config.file,
                f"{rope.at}/type",
            )
