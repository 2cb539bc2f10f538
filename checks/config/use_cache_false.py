"""CFG005 use-cache-false."""

from __future__ import annotations

from collections.abc import Iterator

from modelcheck.check import check
from modelcheck.facts.config import Config
from modelcheck.facts.files import JsonObject
from modelcheck.finding import Finding, Severity
from modelcheck.target import Targets

GENERATES = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")


@check("CFG005", severity=Severity.WARNING)
def use_cache_false(config: Config, target: Targets, generation_config: JsonObject | None = None) -> Iterator[Finding]:
    """The key-value cache is switched off, so every generated token computes the whole text again.

    Symptoms: generation is slow, or takes too much memory

    Why: trainers switch the cache off for gradient checkpointing, and a save during or after training writes that into
    the config. Generation with transformers then takes time quadratic in the length: 320 s for what took 211 s in one
    report, far more for long answers.

    Common causes:
        - Saved by a trainer with gradient checkpointing. Solution: set `use_cache` to true; training switches it off by
          itself.

    Bad:
        ```json config.json
        {"use_cache": false}
        ```
        ```json generation_config.json
        null
        ```
    Good:
        ```json config.json
        {"use_cache": true}
        ```

    Traps: without the key it is on. Encoders, classifiers and reward models need none. vLLM and llama.cpp do not read
    it. Where there is a generation_config.json that does not switch the cache off, `generate` goes by
    that: information.

    Fix safety: safe.

    Sources: trl PR #3891, RobustVLM#27; transformers 5.23 (generation/utils.py).
    """
    names = config.root.get("architectures")
    if isinstance(names, list) and names and not str(names[0]).endswith(GENERATES):
        return
    if target and not target.includes("transformers", "trl"):
        return
    consequence = "each generated token computes the whole text again"
    switch = (generation_config or {}).get("use_cache")
    if switch is False:
        yield Finding(f"use_cache is false, expected true: {consequence}", "generation_config.json", "/use_cache",
                      Severity.WARNING)  # fmt: skip
    for at, part in {"": config.root, config.text_at: config.text}.items():
        if part.get("use_cache") is False and switch is None:
            spared = generation_config is not None
            where = " in code that calls the model without `generate`" if spared else ""
            severity = Severity.INFO if spared else Severity.WARNING
            yield Finding(f"use_cache is false, expected true: {consequence}{where}", config.file, f"{at}/use_cache",
                          severity)  # fmt: skip
